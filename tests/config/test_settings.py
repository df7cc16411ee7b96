"""Settings: where values are found, their precedence, and errors for invalid ones."""

from __future__ import annotations

import json
import logging.config
from typing import Any

import pytest

from odp_logging import ConfigurationError
from odp_logging._config.destination import derive_api_host
from odp_logging._config.load import load
from odp_logging._config.settings import SETTINGS, Config
from odp_logging._runtime.secret import Secret

DATAFILE = {
    "integrations": [
        {"key": "other", "host": "https://no.example"},
        {"key": "odp", "host": "", "publicKey": "half"},
        {"key": "odp", "host": "https://odp.example/", "publicKey": "from-datafile"},
        {"key": "odp", "host": "https://late.example", "publicKey": "late"},
    ]
}


def read(settings: dict[str, Any], environ: dict[str, str] | None = None) -> Config:
    """Load *settings*; a warning fails the test."""

    def warn(kind: str, message: str) -> None:
        raise AssertionError(message)

    return load(settings, warn=warn, environ=environ or {})


def warned(
    settings: dict[str, Any], environ: dict[str, str]
) -> tuple[Config, list[str]]:
    """Load *settings* and return the warnings too."""
    said: list[str] = []
    config = load(settings, warn=lambda kind, text: said.append(text), environ=environ)
    return config, said


def refused(**settings: Any) -> str:
    """Return the message with which *settings* are refused."""
    with pytest.raises(ConfigurationError) as caught:
        read(settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_those_of_readme():
    """Without anything set, the documented defaults hold."""
    config = read({})

    assert config.api_key is None
    assert config.destination() is None
    assert (config.max_batch_size, config.max_batch_bytes) == (500, 1_000_000)
    assert config.max_parallel_requests == 4
    assert (config.flush_interval, config.flush_level) == (1.0, None)
    assert (config.max_queue_size, config.max_queue_bytes) == (0, 64 * 1024**2)
    assert config.backpressure is True
    assert (config.overflow, config.block_timeout) == ("drop_oldest", 1.0)
    assert (config.timeout, config.max_retry_delay) == (10.0, 60.0)
    assert (config.shutdown_timeout, config.shutdown_limit) == (5.0, 60.0)
    assert config.handle_sigterm is True
    assert dict(config.default_identifiers) == dict(config.default_data) == {}
    assert (config.before_send, config.redact) == (None, frozenset())
    assert (config.hash_identifiers, config.hash_salt) == (frozenset(), None)
    assert (config.on_delivery, config.on_drop) == (None, None)
    assert (config.background, config.enabled) == (True, True)


def test_precedence_is_keyword_environment_datafile_default():
    """Each setting is searched for on its own."""
    environ = {"ODP_API_KEY": "from-env", "ODP_TIMEOUT": "3"}

    config = read({"api_key": Secret("from-keyword"), "datafile": DATAFILE}, environ)
    assert config.api_key == Secret("from-keyword")
    assert read({"datafile": DATAFILE}, environ).api_key == Secret("from-env")
    assert read({"datafile": DATAFILE}).api_key == Secret("from-datafile")
    assert read({"timeout": 2}, environ).timeout == 2.0
    assert read({"timeout": None}, environ).timeout == 3.0
    assert read({}).timeout == 10.0


@pytest.mark.parametrize(
    "name", ["ODP_API_KEY", "ODP_SDK_API_KEY", "ZAIUS_SDK_API_KEY"]
)
def test_the_key_is_found_under_the_names_of_odps_own_sdk(name):
    """ODP_API_KEY comes first, then the names that ODP's Node SDK reads."""
    assert read({}, {name: "k"}).api_key == Secret("k")
    assert read({}, {name: "k", "ODP_API_KEY": "first"}).api_key == Secret("first")


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("W4WzcEs-ABgXorzY7h1LCQ", "https://api.zaius.com"),
        ("W4WzcEs-ABgXorzY7h1LCQ-eu1", "https://api.eu1.odp.optimizely.com"),
        ("W4WzcEs-ABgXorzY7h1LCQ-au1", "https://api.au1.odp.optimizely.com"),
        ("public-eu1.secret", "https://api.eu1.odp.optimizely.com"),
        ("public.secret-eu1", "https://api.zaius.com"),
    ],
)
def test_the_host_follows_from_the_key(key, host):
    """The suffix of the public key names the region, as in ODP's Node SDK."""
    assert derive_api_host(Secret(key)) == host
    destination = read({"api_key": key}).destination()
    assert destination is not None and destination.api_host == host


@pytest.mark.parametrize("form", ["dict", "text", "path", "environment"])
def test_a_datafile_names_key_and_host(form, tmp_path):
    """The first complete odp integration counts; path, text and dict are the same."""
    path = tmp_path / "datafile.json"
    path.write_text(json.dumps(DATAFILE))
    given = {"dict": DATAFILE, "text": json.dumps(DATAFILE), "path": path}
    if form == "environment":
        config = read({}, {"ODP_DATAFILE": str(path)})
    else:
        config = read({"datafile": given[form]})

    assert config.api_key == Secret("from-datafile")
    assert config.api_host == "https://odp.example"


@pytest.mark.parametrize(
    "content", [{}, {"integrations": None}, {"integrations": [None, {"key": "odp"}]}]
)
def test_a_datafile_without_odp_is_no_error(content):
    """A datafile that does not integrate ODP leaves the client without a key."""
    assert read({"datafile": content}).api_key is None


@pytest.mark.parametrize(
    ("datafile", "part"),
    [
        ("/no/such/datafile.json", "cannot be read"),
        ("{broken", "is not the JSON"),
        ("[]", "is not the JSON"),
        (5, "<int> cannot be used"),
    ],
)
def test_a_bad_datafile_is_refused(datafile, part):
    """A datafile that cannot be read raises at once, and says what to give."""
    assert part in refused(datafile=datafile)


def test_a_bad_datafile_in_the_environment_warns():
    """An ODP_DATAFILE that cannot be read is reported and not used."""
    config, said = warned({}, {"ODP_DATAFILE": "/no/such/file"})

    assert config.api_key is None
    assert said == [
        "ODP_DATAFILE: datafile cannot be read (No such file or directory); give a"
        " path, the JSON text or the dict; it is not used"
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_batch_size", "50", 50),
        ("max_batch_bytes", " 5000 ", 5000),
        ("flush_interval", "0.5", 0.5),
        ("flush_interval", "0", 0.0),
        ("flush_level", "error", 40),
        ("flush_level", "35", 35),
        ("max_queue_size", "5", 5),
        ("overflow", "block", "block"),
        ("shutdown_timeout", "0", 0.0),
        ("handle_sigterm", "no", False),
        ("background", "False", False),
        ("enabled", "0", False),
        ("enabled", "on", True),
        ("default_identifiers", '{"vuid": "v"}', {"vuid": "v"}),
        ("default_data", '{"plan": "pro"}', {"plan": "pro"}),
        ("redact", "card, cvc", frozenset({"card", "cvc"})),
        ("redact", ' ["card", "cvc"]', frozenset({"card", "cvc"})),
        ("before_send", "json.dumps", json.dumps),
        ("on_drop", "json:dumps", json.dumps),
        ("api_host", "http://127.0.0.1:8181/", "http://127.0.0.1:8181"),
        ("api_host", "https://odp.example", "https://odp.example"),
        ("api_host", "https://odp.example/v3/events", "https://odp.example"),
        ("api_host", "https://odp.example:8443/eu/", "https://odp.example:8443/eu"),
        ("api_host", "https://v3/events", "https://v3/events"),
        ("api_host", "https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("api_host", "https://odp_1.example", "https://odp_1.example"),
        ("api_host", "https://odp.example.\n", "https://odp.example."),
        ("allow_http", "yes", True),
    ],
)
def test_text_values_are_parsed(name, text, value):
    """YAML, INI and the environment give text."""
    assert getattr(read({name: text}), name) == value
    assert getattr(read({}, {f"ODP_{name.upper()}": text}), name) == value


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("max_batch_size", 0, "a whole number, from 1 to 500"),
        ("max_batch_size", 501, "from 1 to 500"),
        ("max_batch_size", "many", "from 1 to 500"),
        ("max_batch_size", True, "from 1 to 500"),
        ("max_batch_size", 1.5, "from 1 to 500"),
        ("max_batch_bytes", -1, "1 or more"),
        ("max_queue_size", "", "0 or more"),
        ("max_queue_bytes", "16MiB", "1 or more"),
        ("flush_interval", -1, "seconds, 0 or more"),
        ("flush_interval", "soon", "seconds, 0 or more"),
        ("flush_interval", float("nan"), "seconds, 0 or more"),
        ("flush_interval", True, "seconds, 0 or more"),
        ("timeout", 0, "more than 0"),
        ("timeout", 1e10, "a day at most"),
        ("block_timeout", 1e10, "a day at most"),
        ("timeout", "inf", "more than 0"),
        ("max_retry_delay", [], "more than 0"),
        ("shutdown_timeout", "5s", "seconds, 0 or more"),
        ("flush_level", "LOUD", "for example ERROR or 40"),
        ("flush_level", 1.5, "for example ERROR or 40"),
        ("overflow", "drop", "drop_oldest or drop_newest or block"),
        ("overflow", 5, "drop_oldest or drop_newest or block"),
        ("background", "maybe", "true or false"),
        ("enabled", 2, "true or false"),
        ("default_identifiers", ["a"], "a dict or its JSON"),
        ("default_data", "{broken", "a dict or its JSON"),
        ("redact", 5, "names of keys"),
        ("redact", [5], "names of keys"),
        ("before_send", "nowhere", "a function or its dotted name"),
        ("before_send", "no.such.module", "ModuleNotFoundError"),
        ("on_drop", "json.nothing", "AttributeError"),
        ("on_delivery", "json.__doc__", "a function or its dotted name"),
        ("api_host", "api.zaius.com", "a URL such as https://api.zaius.com"),
        ("api_host", "ftp://api.zaius.com", "a URL such as"),
        ("api_host", "https://", "a URL such as"),
        ("api_host", "https://odp.example:port", "a URL such as"),
        ("api_host", "https://odp.example?x=1", "a URL such as"),
        ("api_host", "https://odp.example/#", "a URL such as"),
        ("api_host", "https://odp.example?", "a URL such as"),
        ("api_host", "https://odp.example/?", "a URL such as"),
        ("api_host", "https://@odp.example", "a URL such as"),
        ("api_host", "https://me@odp.example", "a URL such as"),
        ("api_host", "https://odp.example:", "a URL such as"),
        ("api_host", "https://odp.example:0", "a URL such as"),
        ("api_host", "https://odp.example:99999", "a URL such as"),
        ("api_host", "https://odp.example/../x", "a URL such as"),
        ("api_host", "https://odp.example/%2e%2e/x", "a URL such as"),
        ("api_host", "https://odp.example//x", "a URL such as"),
        ("api_host", "https://odp.example/a;b", "a URL such as"),
        ("api_host", "https://odp.example\\@evil.example", "a URL such as"),
        ("api_host", "https://odp.example,evil.example", "a URL such as"),
        ("api_host", "https://odp..example", "a URL such as"),
        ("api_host", "https://...", "a URL such as"),
        ("api_host", "https://odp%2eexample", "a URL such as"),
        ("api_host", "https://[::1", "a URL such as"),
        ("api_host", "https://[v1.x]", "a URL such as"),
        ("api_host", "https://[odp.example]", "a URL such as"),
        ("api_host", "https:///v3/events", "a URL such as"),
        ("api_host", "https:odp.example", "a URL such as"),
        ("api_host", "https://od p.example", "a URL such as"),
        ("api_host", "http://odp.example", "plain http"),
        ("api_host", "http://10.0.0.1:80", "plain http"),
        ("api_host", 5, "a URL such as"),
    ],
)
def test_an_invalid_value_raises_and_names_a_good_one(name, bad, good):
    """The error names setting, value and what is expected."""
    message = refused(**{name: bad})

    assert message.startswith(name)
    assert "cannot be used: expected" in message
    assert good in message


@pytest.mark.parametrize(
    "key",
    ["two\nlines", "carriage\rreturn", "with blank", "schlüssel", "日本", b"k", 5],
)
def test_a_key_that_no_header_can_carry_is_refused(key):
    """Keys with line breaks, blanks or non-ASCII letters are refused, and not shown."""
    message = refused(api_key=key)

    assert message.startswith("api_key cannot be used: expected")
    assert str(key) not in message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("max_batchsize", "max_batch_size"),
        ("flushinterval", "flush_interval"),
        ("apikey", "api_key"),
        ("host", "api_host"),
    ],
)
def test_an_unknown_setting_suggests_the_nearest(name, nearest):
    """A misspelt keyword is refused with the name that was meant."""
    message = refused(**{name: 1})

    assert message == f'unknown setting "{name}"; did you mean "{nearest}"?'


def test_an_unknown_setting_without_a_near_one_lists_all():
    """A keyword that resembles nothing is refused with all that there are."""
    assert "known: api_key, api_host" in refused(zzz=1)


def test_names_of_memory_handler_are_accepted():
    """A developer's first guess, MemoryHandler's names, works."""
    config = read({"capacity": 50, "flushLevel": "ERROR"})

    assert (config.max_batch_size, config.flush_level) == (50, 40)


def test_an_invalid_variable_warns_and_the_default_is_used():
    """Nobody's process fails over a variable; it is said which one."""
    config, said = warned({}, {"ODP_MAX_BATCH_SIZE": "lots", "ODP_TIMEOUT": "3"})

    assert (config.max_batch_size, config.timeout) == (500, 3.0)
    assert said == [
        "ODP_MAX_BATCH_SIZE='lots' cannot be used: expected a whole number, from 1 to"
        " 500; the default is used"
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ODP_BEFORE_SEND", "no.such.module"),
        ("ODP_HASH_IDENTIFIERS", "${NOWHERE}"),
        ("ODP_HASH_IDENTIFIERS", '["email"'),
        ("ODP_REDACT", "${NOWHERE}"),
    ],
)
def test_an_invalid_variable_for_privacy_raises(variable, value):
    """With their defaults, too much would be sent."""
    with pytest.raises(ConfigurationError, match=variable):
        warned({}, {variable: value})


@pytest.mark.parametrize("blank", ["\n", "\r\n", " ", "\t"])
@pytest.mark.parametrize("source", ["keyword", "environment", "datafile", "expanded"])
def test_white_space_around_a_key_is_removed(source, blank):
    """A key from a mounted file or `echo` is used without its line break."""
    environ = {"ODP_API_KEY": f"{blank}k-key{blank}", "K": f"k-key{blank}"}
    entry = {"key": "odp", "host": "https://odp.example", "publicKey": f"k-key{blank}"}
    settings: dict[str, Any] = {
        "keyword": {"api_key": f"k-key{blank}"},
        "environment": {},
        "datafile": {"datafile": {"integrations": [entry]}},
        "expanded": {"api_key": "${K}"},
    }
    used = environ if source in ("environment", "expanded") else {}
    config, said = warned(settings[source], used)

    assert config.api_key == Secret("k-key")
    (line,) = said
    assert "white space around it" in line and "k-key" not in line


def test_white_space_around_other_secrets_is_removed():
    """A salt hashes as it does elsewhere, and a queue is the one that is meant."""
    config, said = warned(
        {"hash_salt": "pepper\n"}, {"ODP_QUEUE_URL": " redis://:pw@h/0\n"}
    )

    assert config.hash_salt == Secret("pepper")
    assert config.queue_url is not None and config.queue_url.hosts == (("h", None),)
    assert [line.split()[0] for line in said] == ["hash_salt", "ODP_QUEUE_URL"]
    assert "pepper" not in str(said) and "pw" not in str(said)


def test_a_blank_key_counts_as_not_set():
    """A mounted secret may be empty."""
    config, said = warned({}, {"ODP_API_KEY": " \n"})

    assert config.api_key is None
    assert len(said) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", "false"),
        ("background", "true"),
        ("handle_sigterm", "no"),
        ("max_batch_size", "50"),
        ("timeout", "2.5"),
        ("overflow", "block"),
        ("redact", "card"),
        ("hash_identifiers", "email"),
        ("spool", "/tmp/spool"),
        ("api_key", "k-key"),
        ("hash_salt", "k-key"),
        ("api_host", "https://odp.example"),
    ],
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_in_a_variable_are_refused(name, value, quote):
    """Quotes that a file of variables keeps change the meaning of any setting."""
    variable = f"ODP_{name.upper()}"
    with pytest.raises(ConfigurationError) as caught:
        warned({}, {variable: f"{quote}{value}{quote}\n"})

    assert str(caught.value) == (
        f"{variable} has quotes around its value, and they are part of it; remove the"
        " quotes where the variable is set"
    )


def test_an_invalid_switch_in_the_environment_raises():
    """With its default, ODP_ENABLED would send events."""
    with pytest.raises(ConfigurationError, match="ODP_ENABLED='nope'"):
        warned({}, {"ODP_ENABLED": "nope"})
    with pytest.raises(ConfigurationError, match="ODP_REJECT_PLACEHOLDERS"):
        warned({}, {"ODP_REJECT_PLACEHOLDERS": "2"})


def test_a_salt_must_be_encodable():
    """Otherwise each event would be rejected."""
    assert "text in UTF-8" in refused(hash_salt="a\udcff")


def test_a_datafile_of_many_levels_is_refused():
    """Deeply nested JSON raises no RecursionError."""
    assert "is not the JSON" in refused(datafile="[" * 100_000)


def test_variables_in_values_are_expanded():
    """${NAME} in a text stands for that variable, in nested values too."""
    environ = {"KEY": "k", "PLAN": "pro"}
    config = read(
        {"api_key": "${KEY}", "default_data": {"plan": "${PLAN}-plan"}}, environ
    )

    assert config.api_key == Secret("k")
    assert dict(config.default_data) == {"plan": "pro-plan"}


def test_a_variable_that_is_not_set_is_an_error():
    """${NAME} without that variable is refused, and the message names it."""
    assert refused(api_key="${NO_SUCH}") == (
        "api_key refers to ${NO_SUCH}, which is not set; export NO_SUCH, or leave"
        " api_key out"
    )


def test_values_from_dict_config_are_resolved():
    """Nested cfg:// and ext:// are replaced by what they refer to."""
    source = {
        "plans": {"best": "pro"},
        "given": {
            "default_data": {"plan": "cfg://plans.best", "list": ["cfg://plans.best"]},
            "before_send": "ext://json.dumps",
        },
    }
    converting = logging.config.ConvertingDict(source)
    converting.configurator = logging.config.BaseConfigurator(source)
    config = read(converting["given"])

    assert dict(config.default_data) == {"plan": "pro", "list": ["pro"]}
    assert config.before_send is json.dumps


def test_a_key_for_another_region_warns():
    """A key of one region with the host of another warns, naming the right host."""
    _, said = warned({"api_key": "k-eu1", "api_host": "https://api.zaius.com"}, {})

    assert said == [
        "the key ends with -eu1, but api_host is https://api.zaius.com, and events go"
        " there; https://api.eu1.odp.optimizely.com would be right: leave api_host out"
        " to follow the key"
    ]


@pytest.mark.parametrize(
    "host",
    ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]:5"],
)
def test_plain_http_is_for_loopback(host):
    """Plain http is allowed for this machine, and known to be this machine."""
    destination = read({"api_key": "k", "api_host": host}).destination()

    assert destination is not None and destination.is_loopback


@pytest.mark.parametrize("host", ["http://odp:8181", "http://10.0.0.1:8181"])
@pytest.mark.parametrize("source", ["keyword", "variable", "datafile"])
def test_allow_http_permits_plain_http_with_a_warning(host, source):
    """With allow_http the host of an emulator elsewhere is taken, with a warning."""
    where, environ = {"api_key": "k", "api_host": host}, {}
    if source == "variable":
        where, environ = {"api_key": "k"}, {"ODP_API_HOST": host}
    elif source == "datafile":
        odp = {"key": "odp", "host": host, "publicKey": "k"}
        where = {"datafile": {"integrations": [odp]}}

    with pytest.raises(ConfigurationError, match=r"plain http .* set allow_http"):
        warned(where, environ)
    for settings, more in [({"allow_http": True}, {}), ({}, {"ODP_ALLOW_HTTP": "1"})]:
        config, said = warned({**where, **settings}, {**environ, **more})
        destination = config.destination()
        assert destination is not None and destination.api_host == host
        assert not destination.is_loopback
        assert len(said) == 1 and "the network can read the key" in said[0]


def test_a_secret_in_a_host_is_not_shown():
    """A password or a key that stands in a URL by mistake is in no message."""
    for host in ("https://me:secret@h", "https://h/?key=secret", "https://h/#secret"):
        assert "secret" not in refused(api_host=host)


@pytest.mark.parametrize("host", [None, "https://odp.example", "https://10.0.0.1"])
def test_other_hosts_are_not_loopback(host):
    """A name that is similar to this machine's is another host."""
    destination = read({"api_key": "k", "api_host": host}).destination()

    assert destination is not None and not destination.is_loopback


def test_messages_do_not_repeat_possible_secrets():
    """Long values and URLs with passwords are not repeated in full."""
    assert "secret" not in refused(api_host="https://me:secret@odp.example")
    assert len(refused(overflow="x" * 5000)) < 200


def test_a_config_is_immutable():
    """Settings are neither set nor deleted; `copy_with` returns another `Config`."""
    config = read({"api_key": "k", "timeout": 3})
    with pytest.raises(AttributeError, match="never changes"):
        config.timeout = 4.0
    with pytest.raises(AttributeError, match="never changes"):
        del config.timeout
    with pytest.raises(TypeError, match="no settings: time_out"):
        Config(time_out=3)
    other = config.copy_with(timeout=4.0)

    assert (config.timeout, other.timeout, other.api_key) == (3.0, 4.0, config.api_key)


def test_configs_are_compared_by_value():
    """Settings are equal if each of them is, given or by default, and show all."""
    config = Config(timeout=10.0)

    assert config == Config() and hash(config) == hash(Config())
    assert config != Config(timeout=3.0) and config != 10.0
    assert repr(config).startswith("Config(api_key=None, api_host=None, datafile=None,")
    assert repr(config) == repr(Config())


def test_every_setting_has_a_type_and_a_parser():
    """What is annotated in `Config` and what can be set are the same."""
    assert [*SETTINGS] == [n for n in Config.__annotations__ if not n.startswith("_")]


def test_an_invalid_host_in_the_environment_raises():
    """Events of a test must not go to the real ODP."""
    with pytest.raises(ConfigurationError, match="ODP_API_HOST"):
        read({}, {"ODP_API_HOST": "127.0.0.1:8181"})
