"""Settings: where they come from, which wins, and what a bad one says."""

from __future__ import annotations

import json
import logging.config
from typing import Any

import pytest

from odp_logging import ConfigurationError
from odp_logging._config import SETTINGS, Config, host_of, load
from odp_logging._secret import Secret

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


def test_the_defaults_are_those_of_the_table():
    """Without anything set, the documented defaults hold."""
    config = read({})

    assert config.api_key is None
    assert config.destination() is None
    assert (config.max_batch_size, config.max_batch_bytes) == (100, 1_000_000)
    assert (config.flush_interval, config.flush_level) == (1.0, None)
    assert (config.max_queue_size, config.max_queue_bytes) == (10_000, 16 * 1024**2)
    assert (config.overflow, config.block_timeout) == ("drop_oldest", 1.0)
    assert (config.timeout, config.max_retry_delay) == (10.0, 60.0)
    assert (config.shutdown_timeout, config.handle_sigterm) == (5.0, True)
    assert dict(config.default_identifiers) == dict(config.default_data) == {}
    assert (config.before_send, config.redact) == (None, frozenset())
    assert (config.hash_identifiers, config.hash_salt) == (frozenset(), None)
    assert (config.on_delivery, config.on_drop) == (None, None)
    assert (config.background, config.enabled) == (True, True)


def test_keyword_beats_environment_beats_datafile_beats_default():
    """The nearest source wins, setting by setting."""
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
    assert host_of(Secret(key)) == host
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
    """ODP_DATAFILE that cannot be read is said, and not used."""
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
    ],
)
def test_text_is_understood_everywhere(name, text, value):
    """YAML, INI and the environment give text; it means what it says."""
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
        ("max_queue_size", "", "1 or more"),
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
        ("api_host", "https://od p.example", "a URL such as"),
        ("api_host", "http://odp.example", "plain http"),
        ("api_host", "http://10.0.0.1:80", "plain http"),
        ("api_host", 5, "a URL such as"),
    ],
)
def test_each_bad_value_gets_its_own_line(name, bad, good):
    """A bad value raises, naming the setting, the value and what would be right."""
    message = refused(**{name: bad})

    assert message.startswith(name)
    assert "cannot be used: expected" in message
    assert good in message


@pytest.mark.parametrize(
    "key",
    ["two\nlines", "carriage\rreturn", "with blank", "schlüssel", "日本", b"k", 5],
)
def test_a_key_that_no_header_can_carry_is_refused(key):
    """Keys with line breaks, blanks or letters beyond ASCII are refused, unseen."""
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
def test_an_unknown_setting_names_the_nearest(name, nearest):
    """A misspelt keyword is refused with the name that was meant."""
    message = refused(**{name: 1})

    assert message == f'unknown setting "{name}"; did you mean "{nearest}"?'


def test_a_setting_like_no_other_lists_them_all():
    """A keyword that resembles nothing is refused with all that there are."""
    assert "known: api_key, api_host" in refused(zzz=1)


def test_memory_handlers_names_are_understood():
    """A developer's first guess, MemoryHandler's names, works."""
    config = read({"capacity": 50, "flushLevel": "ERROR"})

    assert (config.max_batch_size, config.flush_level) == (50, 40)


def test_a_bad_value_in_the_environment_warns_and_the_default_holds():
    """Nobody's process fails over a variable; it is said which one."""
    config, said = warned({}, {"ODP_MAX_BATCH_SIZE": "lots", "ODP_TIMEOUT": "3"})

    assert (config.max_batch_size, config.timeout) == (100, 3.0)
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
def test_a_slip_in_a_variable_lets_nothing_private_out(variable, value):
    """Settings that keep something back raise: by their defaults it would be sent."""
    with pytest.raises(ConfigurationError, match=variable):
        warned({}, {variable: value})


def test_variables_in_values_are_expanded():
    """${NAME} in a text stands for that variable, in nested values too."""
    environ = {"KEY": "k", "PLAN": "pro"}
    config = read(
        {"api_key": "${KEY}", "default_data": {"plan": "${PLAN}-plan"}}, environ
    )

    assert config.api_key == Secret("k")
    assert dict(config.default_data) == {"plan": "pro-plan"}


def test_a_variable_that_is_not_set_is_an_error():
    """${NAME} without that variable is refused, and says which it is."""
    assert refused(api_key="${NO_SUCH}") == (
        "api_key refers to ${NO_SUCH}, which is not set; export NO_SUCH, or leave"
        " api_key out"
    )


def test_values_from_dict_config_are_resolved():
    """Nested cfg:// and ext:// arrive as what they refer to, at every depth."""
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


def test_a_key_for_another_region_is_said():
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


@pytest.mark.parametrize("host", [None, "https://odp.example", "https://10.0.0.1"])
def test_other_hosts_are_not_loopback(host):
    """A name that is not this machine's is not taken for it."""
    destination = read({"api_key": "k", "api_host": host}).destination()

    assert destination is not None and not destination.is_loopback


def test_a_message_does_not_repeat_what_might_be_secret():
    """Long values and URLs with passwords are not repeated in full."""
    assert "secret" not in refused(api_host="https://me:secret@odp.example")
    assert len(refused(overflow="x" * 5000)) < 200


def test_settings_never_change():
    """A setting is neither set nor deleted; `replaced` makes others."""
    config = read({"api_key": "k", "timeout": 3})
    with pytest.raises(AttributeError, match="never changes"):
        config.timeout = 4.0
    with pytest.raises(AttributeError, match="never changes"):
        del config.timeout
    with pytest.raises(TypeError, match="no settings: time_out"):
        Config(time_out=3)
    other = config.replaced(timeout=4.0)

    assert (config.timeout, other.timeout, other.api_key) == (3.0, 4.0, config.api_key)


def test_settings_are_compared_by_value():
    """Settings are equal if each of them is, given or by default, and show all."""
    config = Config(timeout=10.0)

    assert config == Config() and hash(config) == hash(Config())
    assert config != Config(timeout=3.0) and config != 10.0
    assert repr(config).startswith("Config(api_key=None, api_host=None, datafile=None,")
    assert repr(config) == repr(Config())


def test_every_setting_has_a_type_and_a_reader():
    """What is annotated in `Config` and what can be set are the same."""
    assert [*SETTINGS] == [n for n in Config.__annotations__ if not n.startswith("_")]


def test_a_host_that_cannot_be_used_sends_nowhere_else():
    """A slip in ODP_API_HOST does not send a test's events to the real ODP."""
    with pytest.raises(ConfigurationError, match="ODP_API_HOST"):
        read({}, {"ODP_API_HOST": "127.0.0.1:8181"})
