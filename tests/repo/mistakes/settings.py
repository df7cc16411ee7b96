"""Mistakes in settings, in the environment and in commands."""

from __future__ import annotations

from .mistake import SEND, Mistake

FLUSH = "odp_logging.flush(0.2)\n"


def set_variable(name: str, value: str) -> str:
    """Return a program that sets the variable and logs an event."""
    return f"os.environ[{name!r}] = {value!r}\nstart()\n{SEND}"


def configure(setting: str) -> str:
    """Return a program with *setting* in a dict for dictConfig."""
    handler = f'{{"class": "odp_logging.OdpHandler", {setting}}}'
    return (
        f'LOGGING = {{"version": 1, "handlers": {{"odp": {handler}}}}}\n'
        "logging.config.dictConfig(LOGGING)\n"
    )


SETTINGS = [
    Mistake(
        number=1,
        words="a wrong key",
        program='start("wrong-key")\n' + SEND + FLUSH,
        run="""\
 answered 403 and refuses the key; 1 event is kept in memory
they are lost; http://127.0.0.1:
 answered 403 and refuses the key; check api_key and api_host; set spool""",
        doctor="answered 403 and refuses the key",
    ),
    Mistake(
        number=2,
        words="a host with a typing error",
        program='start(api_host="https://api.zauis.invalid")\n' + SEND + FLUSH,
        run="""\
cannot resolve api.zauis.invalid; 1 event is kept in memory
they are lost; cannot resolve api.zauis.invalid""",
        doctor="DNS: api.zauis.invalid is not known",
    ),
    Mistake(
        number=3,
        words="a host that refuses the connection",
        program='start(api_host="http://127.0.0.1:9")\n' + SEND + FLUSH,
        run="""\
127.0.0.1:9 refused the connection; 1 event is kept in memory
they are lost; 127.0.0.1:9 refused the connection""",
        doctor="connection: 127.0.0.1:9 cannot be reached (Connection refused)",
    ),
    Mistake(
        number=4,
        words="a host without https://",
        program='start(api_host="api.zaius.com")\n',
        run="api_host cannot be used: expected a URL such as https://api.zaius.com",
        doctor="api_host cannot be used: expected a URL such as https://api.zaius.com",
    ),
    Mistake(
        number=5,
        words="a host with the path of the API",
        program='start(api_host=URL + "/v3/events")\n' + SEND,
        is_delivered=True,
        silent="the path is taken off, and the event is delivered",
    ),
    Mistake(
        number=6,
        words="a host with http://",
        program='start(api_host="http://api.zaius.com")\n',
        run="plain http would show the key to the network, and is allowed only for",
        doctor="plain http would show the key to the network",
    ),
    Mistake(
        number=7,
        words="a key of another region",
        program='start("key-eu1", api_host="https://api.zaius.com")\n',
        run="https://api.eu1.odp.optimizely.com would be right: leave api_host out",
        doctor="-> https://api.eu1.odp.optimizely.com would be right",
    ),
    Mistake(
        number=8,
        words="a key with a line break, as from a mounted file",
        program='os.environ["ODP_API_KEY"] += "\\n"\nstart()\n' + SEND,
        run="ODP_API_KEY has white space around it, such as a line break at its end",
        is_delivered=True,
    ),
    Mistake(
        number=9,
        words="a key in quotes",
        program=set_variable("ODP_API_KEY", '"the-key"'),
        run="ODP_API_KEY has quotes around its value, and they are part of it",
        doctor="ODP_API_KEY has quotes around its value, and they are part of it",
    ),
    Mistake(
        number=10,
        words="ODP_APIKEY in the place of ODP_API_KEY",
        program='del os.environ["ODP_API_KEY"]\n' + set_variable("ODP_APIKEY", "key"),
        run="ODP_APIKEY is no setting; did you mean ODP_API_KEY?",
        doctor="ODP_APIKEY is no setting; did you mean ODP_API_KEY?",
    ),
    Mistake(
        number=11,
        words="a variable with a typing error",
        program=set_variable("ODP_FLUSH_INTERVALL", "5"),
        run="ODP_FLUSH_INTERVALL is no setting; did you mean ODP_FLUSH_INTERVAL?",
        doctor="ODP_FLUSH_INTERVALL is no setting; did you mean ODP_FLUSH_INTERVAL?",
        is_delivered=True,
    ),
    Mistake(
        number=12,
        words="a variable of another program that begins with ODP_",
        program=set_variable("ODP_ENVIRONMENT", "prod"),
        doctor="hint     environment: ODP_ENVIRONMENT is no setting\n",
        is_delivered=True,
        silent="it may be meant for that program; the doctor names it as a hint",
    ),
    Mistake(
        number=30,
        words="a number that is out of range",
        program="start(flush_interval=-1)\n",
        run="flush_interval=-1 cannot be used: expected seconds, 0 or more, a day",
        doctor="flush_interval=-1 cannot be used: expected seconds, 0 or more, a day",
    ),
    Mistake(
        number=31,
        words="the same in a variable",
        program=set_variable("ODP_FLUSH_INTERVAL", "-1"),
        run="ODP_FLUSH_INTERVAL='-1' cannot be used: expected seconds, 0 or more",
        doctor="ODP_FLUSH_INTERVAL='-1' cannot be used: expected seconds, 0 or more",
        is_delivered=True,
    ),
    Mistake(
        number=32,
        words="a setting that there is not",
        program="OdpHandler(batch_size=5)  # here\n",
        run='unknown setting "batch_size"; did you mean "max_batch_size"?',
        doctor='unknown setting "batch_size"; did you mean "max_batch_size"?',
        types=True,
    ),
    Mistake(
        number=33,
        words="the same in a dict for dictConfig",
        program=configure('"batch_size": 5'),
        run='unknown setting "batch_size"; did you mean "max_batch_size"?',
        doctor='unknown setting "batch_size"; did you mean "max_batch_size"?',
    ),
    Mistake(
        number=34,
        words="${MY_KEY} in a dict for dictConfig, and no such variable",
        program=configure('"api_key": "${MY_KEY}"'),
        run="api_key refers to ${MY_KEY}, which is not set; export MY_KEY",
        doctor="api_key refers to ${MY_KEY}, which is not set; export MY_KEY",
    ),
    Mistake(
        number=35,
        words="a spool that is a file",
        program='open("a-file", "w").close()\nstart(spool="a-file")\n' + SEND,
        run="a-file cannot be used: it is no directory; events stay in memory",
        doctor="a-file cannot be used: it is no directory",
        is_delivered=True,
    ),
    Mistake(
        number=36,
        words="the port of the emulator is in use",
        program="""\
with socket.create_server(("127.0.0.1", 0)) as server:
    main(["emulator", "--port", str(server.getsockname()[1])])
""",
        run="is in use: pass another one, or --port 0 for a free one",
    ),
    Mistake(
        number=37,
        words="no Redis at the address of queue_url",
        program='start(queue_url="redis://127.0.0.1:9/0")\n' + SEND + FLUSH,
        run="""\
the queue redis://127.0.0.1:9/0?stream=odp:events refused the connection; 1 event
they are lost; the queue redis://127.0.0.1:9/0?stream=odp:events refused""",
        doctor="odp:events refused the connection",
    ),
    Mistake(
        number=38,
        words="the package of an extra is missing",
        program="""\
sys.modules["redis"] = None
start(queue_url="redis://127.0.0.1:9/0")
""",
        run="the module redis is missing; pip install 'redis>=5.0.1'",
        doctor="the module redis is missing; pip install 'redis>=5.0.1'",
    ),
    Mistake(
        number=39,
        words="doctor --import in a wrong folder",
        program='main(["doctor", "--import", "mysite.settings:LOGGING"])\n',
        run="         -> run this command in the folder that holds mysite\n",
    ),
    Mistake(
        number=40,
        words="doctor --import with a misspelt name after the colon",
        program="""\
with open("settings40.py", "w") as file:
    file.write("LOGGING = {}")
main(["doctor", "--import", "settings40:LOGGGING"])
""",
        run="settings40 has no LOGGGING; did you mean LOGGING?\n",
    ),
    Mistake(
        number=52,
        words="a level in the place of the key",
        program='OdpHandler("info")\n',
        run='not the name of a level; write level="INFO"',
        doctor='not the name of a level; write level="INFO"',
    ),
    Mistake(
        number=54,
        words="a time limit that is a text",
        program="start()\n" + SEND + 'odp_logging.flush("5")  # here\n',
        types=True,
        is_delivered=True,
        silent="a text with a number is read as that number",
    ),
    Mistake(
        number=55,
        words='durability="crash" without a spool',
        program='OdpHandler(durability="crash")\n',
        run='durability="crash" needs a directory to write to; pass spool=DIR as well',
        doctor='durability="crash" needs a directory to write to; pass spool=DIR',
    ),
]
