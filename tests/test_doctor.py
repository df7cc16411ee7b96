"""The command ``doctor``: each reason for seeing nothing is found, and said."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from odp_logging import HideOdpFields, OdpClient, OdpHandler, OdpProcessor
from odp_logging._cli import main
from odp_logging._config import Destination
from odp_logging._finding import Finding, counted, named
from odp_logging._logging_check import of_logging
from odp_logging._network_check import of_answer, of_way
from odp_logging._secret import Secret
from odp_logging._settings_check import of_environment
from odp_logging._structlog_check import of_structlog
from odp_logging.stores import _directory
from odp_logging.stores._spoolfile import SpoolFile

from .conftest import KEY
from .test_tail import body
from .transports.conftest import Peer as Peer
from .transports.conftest import Script, always, reply
from .transports.conftest import _plain_environment as _plain_environment
from .transports.conftest import certificate as certificate
from .transports.conftest import peer as peer

Checks = dict[str, list[dict[str, str]]]


@pytest.fixture(autouse=True)
def own_loggers() -> Iterator[None]:
    """The doctor sees the loggers of one test alone; the others come back."""
    manager, root = logging.root.manager, logging.root
    kept = manager.loggerDict, root.handlers[:], root.level, manager.disable
    manager.loggerDict = {}
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    yield
    for handler in [*root.handlers, *_all_handlers()]:
        if isinstance(handler, OdpHandler):
            handler.close()
    manager.loggerDict, root.handlers[:], _, manager.disable = kept
    root.setLevel(kept[2])


def _all_handlers() -> list[logging.Handler]:
    loggers = logging.root.manager.loggerDict.values()
    return [h for each in loggers for h in getattr(each, "handlers", ())]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Checks]]:
    """Run the command; return its status, and its findings by what they are about."""

    def run(*words: str) -> tuple[int, Checks]:
        status = main(["doctor", "--json", *words])
        told = json.loads(capsys.readouterr().out)
        assert status == (1 if told["problems"] else 0)
        found: Checks = {}
        for each in told["findings"]:
            assert "\n" not in each["found"] + each["advice"]
            assert each["advice"] or each["kind"] == "ok"
            found.setdefault(each["check"], []).append(each)
        return status, found

    return run


def kinds(found: Checks, check: str) -> list[str]:
    """Return the kinds of all findings on *check*."""
    return [each["kind"] for each in found.get(check, ())]


def only(found: Checks, check: str) -> tuple[str, str]:
    """Return kind and text of the one finding on *check*."""
    (each,) = found[check]
    return each["kind"], each["found"]


@pytest.fixture
def set_up(emulator, monkeypatch) -> None:
    """Key and host of the emulator in the environment."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)


def on(name: str | None = None, floor: int | None = logging.INFO, **settings: Any):
    """Put an OdpHandler on a logger with the level *floor*, and return both."""
    logger = logging.getLogger(name)
    handler = OdpHandler(handle_sigterm=False, **settings)
    logger.addHandler(handler)
    if floor is not None:
        logger.setLevel(floor)
    return logger, handler


# Key, region, switches.


def test_all_is_well(set_up, emulator, doctor):
    """With key, host and a handler there is no problem, and nothing is sent."""
    on()
    status, found = doctor()

    assert status == 0
    assert only(found, "key") == ("ok", "the key …-see is from ODP_API_KEY")
    assert kinds(found, "region") == kinds(found, "DNS") == ["ok"]
    assert kinds(found, "connection") == kinds(found, "levels") == ["ok"]
    assert "test event" not in found and "environment" not in found
    assert emulator.events() == []


def test_the_test_event_is_sent_on_demand(set_up, emulator, doctor):
    """--send sends one event, and tells that it was taken."""
    status, found = doctor("--send")

    assert status == 0
    assert kinds(found, "test event") == ["ok"]
    (event,) = emulator.events()
    assert event["event"]["type"] == "odp_logging"
    assert event["event"]["action"] == "doctor"


@pytest.mark.parametrize(
    ("fault", "said"),
    [({"status": 400, "events": [0]}, "rejected"), ({"status": 503}, "answered 503")],
)
def test_a_test_event_that_is_not_taken(set_up, emulator, doctor, fault, said):
    """What ODP says to the test event is told."""
    emulator.fault(count=1, **fault)
    status, found = doctor("--send")

    assert status == 1
    assert said in only(found, "test event")[1]


def test_a_wrong_key_is_said(emulator, monkeypatch, doctor):
    """A key that ODP refuses is a problem of the settings, and is not shown."""
    monkeypatch.setenv("ODP_API_KEY", "another-key-than-it-takes")
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    _, found = doctor("--send")

    kind, text = only(found, "test event")
    assert (kind, text.endswith("answered 403 and refuses the key …akes")) == (
        "problem",
        True,
    )
    assert "another-key" not in str(found)


def test_no_key(doctor):
    """Without a key, it says where to find one; the network is not looked at."""
    status, found = doctor()

    assert status == 1
    assert kinds(found, "key") == ["problem"]
    assert "Account Settings > APIs" in found["key"][0]["advice"]
    assert "DNS" not in found
    assert kinds(found, "handlers") == ["hint"]


@pytest.mark.parametrize("key", ["$ODP_KEY", '"quoted"', "<your-key>"])
def test_a_placeholder_for_a_key(key, monkeypatch, doctor):
    """A key that is none by its looks is a problem."""
    monkeypatch.setenv("ODP_API_KEY", key)
    monkeypatch.setenv("ODP_API_HOST", "http://127.0.0.1:9")
    _, found = doctor("--timeout", "1")

    assert "placeholder" in only(found, "key")[1]
    assert key not in str(found)


def test_where_each_setting_is_from(emulator, tmp_path, doctor):
    """Keyword, alias, variable and datafile are named as the source."""
    datafile = {
        "integrations": [{"key": "odp", "host": emulator.url, "publicKey": KEY}]
    }
    on("a", datafile=datafile)
    on("b", api_key="another-key-of-theirs", api_host=emulator.url)
    _, found = doctor()

    texts = [each["found"] for each in found["key"]]
    assert texts == [
        "OdpHandler on a: the key …-see is from the datafile of the keyword datafile=",
        "OdpHandler on b: the key …eirs is from the keyword api_key=",
    ]
    texts = [each["found"] for each in found["region"]]
    assert texts[0].endswith("from the datafile of the keyword datafile=")
    assert texts[1].endswith("from the keyword api_host=")


def test_the_region(monkeypatch, doctor):
    """A key of one region with the host of another is a problem, and says the right."""
    monkeypatch.setenv("ODP_API_KEY", "a-key-of-europe-eu1")
    monkeypatch.setenv("ODP_API_HOST", "https://api.zaius.com")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    _, found = doctor("--timeout", "1")

    assert kinds(found, "region") == ["problem"]
    assert "ends with -eu1" in found["region"][0]["found"]
    assert found["region"][0]["advice"].startswith("https://api.eu1.odp.optimizely.com")


def test_what_is_odd_in_the_environment(monkeypatch, doctor):
    """Unknown, empty and unreadable variables are named, with the nearest name."""
    monkeypatch.setenv("ODP_TIMOUT", "3")
    monkeypatch.setenv("ODP_ZZZ", "3")
    monkeypatch.setenv("ODP_SPOOL", "")
    monkeypatch.setenv("ODP_FLUSH_INTERVAL", "soon")
    monkeypatch.setenv("ODP_API_KEY", "${NO_SUCH}")
    _, found = doctor()

    texts = {each["found"]: each["kind"] for each in found["environment"]}
    assert texts["ODP_TIMOUT is no setting; did you mean ODP_TIMEOUT?"] == "problem"
    assert texts["ODP_ZZZ is no setting"] == "hint"
    assert texts["ODP_SPOOL is set, but empty: it counts as not set"] == "hint"
    assert any("ODP_FLUSH_INTERVAL='soon' cannot be used" in text for text in texts)
    assert any("ODP_API_KEY refers to ${NO_SUCH}" in text for text in texts)
    assert kinds(found, "key") == ["problem"]


def test_settings_that_contradict_each_other(monkeypatch):
    """What would raise in the application is a problem here."""
    monkeypatch.setenv("ODP_DURABILITY", "crash")
    config, found = of_environment()

    assert config is None
    assert [each.kind for each in found] == ["problem"]
    assert "needs a directory" in found[0].found


def test_switched_off(set_up, monkeypatch, doctor):
    """ODP_ENABLED=off is a problem: nothing is sent."""
    monkeypatch.setenv("ODP_ENABLED", "off")
    _, found = doctor()

    text = "enabled is off, from ODP_ENABLED: nothing is sent"
    assert only(found, "enabled") == ("problem", text)


# The way to ODP.


def way(url: str, seconds: float = 5.0) -> dict[str, Finding]:
    """Look at the way to *url*; return the findings by what they are about."""
    found = list(of_way(Destination(Secret(KEY), url), seconds=seconds))
    return {each.check: each for each in found}


def test_nobody_listens():
    """A port that nobody listens on is a problem, named with host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found = way(f"http://127.0.0.1:{port}")

    assert found["connection"].kind == "problem"
    assert found["connection"].found.startswith(f"127.0.0.1:{port} cannot be reached")


def test_a_name_that_is_none():
    """A host that no name server knows is a problem; no time is lost on the rest."""
    found = way("https://no.such.host.invalid", 20)

    assert list(found) == ["DNS"]
    assert found["DNS"].kind == "problem"


def test_tls(peer: Callable[..., Peer], certificate: Any, monkeypatch):
    """A certificate that is trusted is ok, with its last day; it ends soon: a hint."""
    # An address of this machine that does not look like one: the environment counts.
    path = certificate("DNS:127.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    found = way(f"https://127.1:{peer(always(reply()), certificate=path).port}")

    assert found["TLS"].kind == "hint"
    assert "TLSv1.3, the certificate of 127.1 is valid until 2" in found["TLS"].found


@pytest.mark.parametrize("name", ["IP:127.0.0.1", "DNS:elsewhere.example"])
def test_tls_that_is_not_trusted(peer, certificate, name, monkeypatch):
    """An unknown certificate, or one for another host, is a problem."""
    path = certificate(name)
    if name.startswith("DNS"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    found = way(f"https://127.1:{peer(always(reply()), certificate=path).port}")

    assert found["TLS"].kind == "problem"
    assert "is not trusted" in found["TLS"].found


def test_tls_that_is_none(peer: Callable[[Script], Peer]):
    """A peer that speaks no TLS is a problem."""
    found = way(peer(always(reply())).url.replace("http:", "https:"), 2)

    assert found["TLS"].kind == "problem"
    assert "does not speak TLS" in found["TLS"].found


@pytest.mark.parametrize("proxy", ["http://u:secret@127.0.0.1:99999", "http://[::1"])
def test_a_proxy_that_is_no_address(proxy, monkeypatch):
    """A proxy that cannot be read is named as the problem; its password is not."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    destination = Destination(Secret(KEY), "https://odp.invalid")
    (found,) = of_way(destination, seconds=5)

    assert (found.kind, found.check) == ("problem", "proxy")
    assert "secret" not in found.found + found.advice


def test_a_proxy_is_looked_at_instead(peer, monkeypatch):
    """Where requests go through a proxy, its address is tried; its password is not."""
    proxy = peer(always(reply()))
    url = f"http://user:secret@127.0.0.1:{proxy.port}"
    monkeypatch.setenv("HTTPS_PROXY", url)
    found = way("https://api.zaius.com")

    assert found["proxy"].found.endswith(f"127.0.0.1:{proxy.port} of the environment")
    assert found["connection"].kind == "ok"
    assert "TLS" not in found and "secret" not in str(found)


def test_an_answer_that_never_comes_has_a_limit(peer):
    """A host that takes the event and says nothing is told within the time."""
    silent = peer(lambda connection: connection.hang())
    found = of_answer(Destination(Secret(KEY), silent.url), seconds=0.3)

    assert found.kind == "problem"
    assert "gave no answer" in found.found


# Loggers.


def looked(*, imported: bool = True) -> dict[str, Finding]:
    """Look at loggers and structlog; return the findings by what they are about."""
    found = [*of_logging(imported=imported), *of_structlog()]
    assert len({each.check for each in found}) == len(found)
    return {each.check: each for each in found}


def test_no_handler():
    """An application without a handler is a problem, one not looked at a hint."""
    assert looked()["handlers"].kind == "problem"
    assert looked(imported=False)["handlers"].kind == "hint"

    logging.getLogger().addHandler(logging.handlers.QueueHandler(queue.Queue()))
    assert "leads to a queue" in looked()["handlers"].found


@pytest.mark.parametrize(
    ("logger_level", "handler_level", "problem"),
    [
        (logging.INFO, "NOTSET", False),
        (logging.DEBUG, "INFO", False),
        (logging.WARNING, "NOTSET", True),
        (None, "NOTSET", True),
        (logging.INFO, "ERROR", True),
    ],
)
def test_levels(logger_level, handler_level, problem):
    """A level that holds INFO back, on logger or handler, is a problem."""
    on("shop", logger_level, api_key="k", level=handler_level)
    finding = looked()["levels"]

    assert finding.kind == ("problem" if problem else "ok")
    assert "OdpHandler on shop" in finding.found


def test_a_descendant_with_a_level_of_its_own():
    """A handler on the root gets INFO from loggers that let it through themselves."""
    on(None, logging.WARNING, api_key="k")
    logging.getLogger("shop.orders").setLevel(logging.INFO)

    assert looked()["levels"].found.endswith("gets INFO from shop.orders")


def test_logging_disable():
    """logging.disable() is named."""
    on("shop", api_key="k")
    logging.disable(logging.WARNING)

    assert "logging.disable(WARNING)" in looked()["levels"].found


def test_disabled_loggers():
    """What dictConfig disabled is a problem, but for libraries' own loggers."""
    on(None, api_key="k")
    for name in ("urllib3.connectionpool", "asyncio"):
        logging.getLogger(name).disabled = True
    assert "disabled" not in looked()

    logging.getLogger("shop").disabled = True
    assert looked()["disabled"].found == "1 logger disabled: shop"
    assert "disable_existing_loggers" in looked()["disabled"].advice


def test_loggers_that_do_not_propagate():
    """A logger with handlers of its own that cuts the path is a hint."""
    on(None, api_key="k")
    cut = logging.getLogger("uvicorn.access")
    cut.addHandler(logging.NullHandler())
    cut.propagate = False

    assert looked()["propagation"].kind == "hint"
    assert "uvicorn.access" in looked()["propagation"].found


def test_double_handlers():
    """Two handlers to one destination on one path is a problem, one per path is not."""
    on("shop", api_key="k")
    on("other", api_key="k")
    assert all(each.kind == "ok" for each in of_logging(imported=True))

    on(None, api_key="k")
    found = [each for each in of_logging(imported=True) if each.check == "double"]
    assert [each.kind for each in found] == ["hint"] * 2
    assert "on other and the root logger: each event is sent once" in found[0].found


def test_two_destinations_are_not_double():
    """Handlers to different accounts on one path are as they should be."""
    on("shop", api_key="k")
    on(None, api_key="another")

    assert {each.kind for each in of_logging(imported=True)} == {"ok"}


def test_handlers_within_handlers():
    """What a MemoryHandler passes on to counts as a handler of that logger."""
    _, ours = on("shop", api_key="k")
    logging.getLogger("shop").removeHandler(ours)
    memory = logging.handlers.MemoryHandler(10, target=ours)
    logging.getLogger("shop").addHandler(memory)

    assert looked()["levels"].kind == "ok"
    ours.close()


def test_fields_in_json_logs():
    """python-json-logger without the filter is a hint, with it none."""
    json_logger = pytest.importorskip("pythonjsonlogger.json")
    logger, _ = on(None, api_key="k")
    printing = logging.StreamHandler()
    printing.setFormatter(json_logger.JsonFormatter())
    logger.addHandler(printing)
    assert looked()["privacy"].kind == "hint"

    printing.addFilter(HideOdpFields())
    assert "privacy" not in looked()


# structlog.


def render(_: Any, __: str, event_dict: Any) -> Any:
    """A processor of the application's own."""
    return event_dict


MERGE = structlog.contextvars.merge_contextvars
JSON = structlog.processors.JSONRenderer()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([MERGE, render], [JSON], ""),
        ([], [], ""),
        ([MERGE, JSON], [], "after JSONRenderer"),
        (
            [structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            [],
            "after wrap_for_formatter",
        ),
        ([], [MERGE, JSON], "before merge_contextvars"),
    ],
)
def test_the_processors_place(before, after, said):
    """A processor where no event is left to see, or before what is bound, is found."""
    ours = OdpProcessor(api_key="k", handle_sigterm=False)
    structlog.configure(processors=[*before, ours, *after])
    finding = looked()["structlog"]

    assert finding.kind == ("problem" if said else "ok")
    assert said in finding.found


def test_structlogs_own_switches():
    """Two processors, a level above INFO and the cache are told."""
    ours = OdpProcessor(api_key="k", handle_sigterm=False)
    structlog.configure(
        processors=[ours, ours],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=True,
    )
    texts = [f"{each.kind} {each.found}" for each in of_structlog()]

    assert texts[0].startswith("ok ")
    assert texts[1] == "problem 2 OdpProcessors stand in one chain"
    assert texts[2].startswith("problem its wrapper_class lets WARNING and above")
    assert texts[3].startswith("hint cache_logger_on_first_use is on")


def test_structlog_that_is_not_ours():
    """Without an OdpProcessor, nothing is said of structlog."""
    structlog.configure(processors=[JSON], cache_logger_on_first_use=True)

    assert list(of_structlog()) == []


# The spool.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spool that the environment names; it is not there yet."""
    monkeypatch.setenv("ODP_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def test_a_spool_to_be_made(home, doctor):
    """A spool that is not there is made when needed; the doctor does not make it."""
    assert kinds(doctor()[1], "spool") == ["ok"]
    assert not home.exists()


def test_what_is_in_a_spool(set_up, home, doctor):
    """Size, leftovers, dead letters, others' files and damaged ones are told."""
    account = OdpClient(enabled=False).config.destination().account
    for name in (account, "another"):
        _directory.prepare(home)
        file = SpoolFile(_directory.create(home, name))
        file.add([body(1), body(2)], 1)
        file.settle([], {file.read(1)[0]: "reason"})
        file.shut()
        file.claim.release()
    (home / "x-1-a.spool").write_bytes(b"nothing")
    before = sorted(home.iterdir())
    status, found = doctor()

    assert status == 0
    texts = [each["found"] for each in found["spool"]]
    assert "holds 2 events and 2 dead letters in 3 files" in texts[0]
    assert texts[1].startswith("1 event of processes that are gone")
    assert texts[2] == "ODP rejected 2 events, with its reason"
    assert texts[3].startswith("2 files there belong to other keys or hosts")
    assert texts[4] == "1 file there cannot be read"
    assert sorted(home.iterdir()) == before
    assert "ada@" not in str(found)


def test_a_spool_in_use_is_not_a_leftover(set_up, home, doctor):
    """What a living process has is not told as left behind; nearly full is."""
    account = OdpClient(enabled=False).config.destination().account
    _directory.prepare(home)
    file = SpoolFile(_directory.create(home, account))
    file.add([body(1)], 1)
    _, found = doctor()
    assert kinds(found, "spool") == ["ok"]

    os.environ["ODP_SPOOL_MAX_BYTES"] = "300"
    _, found = doctor()
    file.close()
    del os.environ["ODP_SPOOL_MAX_BYTES"]
    assert kinds(found, "spool") == ["hint"]
    assert found["spool"][0]["advice"].startswith("nearly full")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_spool_of_another_user(home, doctor):
    """A directory of somebody else is a problem."""
    home.mkdir(mode=0o700)
    os.chown(home, 12345, 12345)

    assert "it belongs to another user" in only(doctor()[1], "spool")[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_spool_that_is_not_ours_to_write_to(home, doctor):  # pragma: no cover
    """A directory, or one above it, without the right to write is a problem."""
    home.parent.chmod(0o500)
    assert "is not ours to write to" in only(doctor()[1], "spool")[1]

    home.parent.chmod(0o700)
    home.mkdir(mode=0o500)
    assert "it is not ours to write to" in only(doctor()[1], "spool")[1]


@pytest.mark.parametrize("how", ["link", "file", "open"])
def test_a_spool_that_cannot_be_used(home, doctor, how):
    """A link, a file, and a directory that others share are problems."""
    if how == "link":
        home.symlink_to(home.parent)
    elif how == "file":
        home.write_text("")
    else:
        home.mkdir(mode=0o755)
        (home / "theirs").write_text("")
    status, found = doctor()

    assert status == 1
    assert kinds(found, "spool") == ["problem"]
    assert "cannot be used: it is" in found["spool"][0]["found"]


# The application.

APPLICATION = """
import logging, logging.config
early = logging.getLogger("early")
LOGGING = {
    "version": 1,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
    "root": {"level": "INFO", "handlers": ["odp"]},
}
NUMBER = 5
WRONG = {
    "version": 1,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler", "flush": 1}},
}
def set_up():
    print("on stdout")
    logging.config.dictConfig(LOGGING)
def fails():
    raise SystemExit("the key is sesame")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The application lies where the command is started."""
    (tmp_path / "shop_settings.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("shop_settings", None)


def run(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command where an application lies."""
    (folder / "shop_settings.py").write_text(APPLICATION)
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "odp_logging", "doctor", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )


def test_an_application_that_goes_elsewhere(emulator, tmp_path):
    """What is imported may change the directory, or take it from under our feet."""
    (tmp_path / "elsewhere.py").write_text("import os\nos.chdir('/')\n")
    environ = {"ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    done = run(tmp_path, "--import", "elsewhere", **environ)

    assert (done.returncode, done.stderr) == (1, "")
    assert "ok       application: elsewhere is imported" in done.stdout


@pytest.mark.parametrize("member", ["set_up", "LOGGING"])
def test_an_application_is_imported_first(emulator, tmp_path, member):
    """A function is called, a dict configured; then its handlers are looked at."""
    done = run(
        tmp_path,
        "--import",
        f"shop_settings:{member}",
        ODP_API_KEY=KEY,
        ODP_API_HOST=emulator.url,
    )

    assert done.returncode == 1, done.stderr
    assert "ok       levels: OdpHandler on the root logger gets INFO" in done.stdout
    assert "problem  disabled: 1 logger disabled: early" in done.stdout
    assert '         -> set "disable_existing_loggers": False' in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 problem, 0 hints, ")
    assert "on stdout" not in done.stdout
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no.such.module", "raised ModuleNotFoundError of no"),
        ("shop_settings:fails", "raised SystemExit"),
        ("shop_settings:NUMBER", "raised TypeError"),
        ("shop_settings:nothing", "raised AttributeError"),
        ("shop_settings:WRONG", 'raised ValueError: unknown setting "flush"'),
    ],
)
def test_an_application_that_cannot_be_imported(here, doctor, name, said):
    """Whatever it raises is a problem, without its text, and the rest is looked at."""
    status, found = doctor("--import", name)

    assert status == 1
    kind, text = only(found, "application")
    assert (kind, said in text) == ("problem", True)
    assert kinds(found, "key") == ["problem"]
    assert "sesame" not in str(found)


def test_a_report_for_people(here, set_up, capsys):
    """A line for what was found, one for what to do, and the sum at the end."""
    path = sys.path[:]
    status = main(["doctor", "--import", "shop_settings:set_up"])
    shown = capsys.readouterr()

    assert (status, sys.path) == (1, path)
    assert shown.err == "on stdout\n"
    lines = shown.out.splitlines()
    assert lines[0] == "ok       application: shop_settings:set_up is imported"
    assert lines[-3] == "problem  disabled: 1 logger disabled: early"
    assert lines[-2].startswith('         -> set "disable_existing_loggers": False')
    assert lines[-1] == "1 problem, 0 hints, 6 ok"


def test_django_that_is_not_there(doctor, monkeypatch):
    """--django without Django is a problem in one line."""
    monkeypatch.setitem(sys.modules, "django", None)
    _, found = doctor("--django")

    text = "setting up Django raised ModuleNotFoundError of django"
    assert only(found, "application") == ("problem", text)


def test_a_django_is_set_up(tmp_path, emulator):
    """--django calls django.setup(), whatever that configures."""
    (tmp_path / "django").mkdir()
    (tmp_path / "django" / "__init__.py").write_text(
        "from shop_settings import set_up as setup"
    )
    done = run(
        tmp_path,
        "--django",
        ODP_API_KEY=KEY,
        ODP_API_HOST=emulator.url,
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
    )

    assert "ok       application: Django is set up" in done.stdout
    assert "ok       levels: OdpHandler on the root logger" in done.stdout


def test_counts_of_what_was_sent(set_up, emulator, doctor):
    """What the clients of this process counted is told, with the last error."""
    _, handler = on("shop")
    handler.client.send_odp_event("a", {"email": "ada@example.com"})
    assert handler.client.flush(10)
    _, found = doctor()
    assert kinds(found, "counts") == ["ok"]

    handler.client.send_odp_event("a", {})
    assert handler.client.flush(10)
    _, found = doctor()
    kind, text = only(found, "counts")
    assert kind == "hint"
    assert "OdpHandler on shop: 2 events so far: 1 delivered, 1 rejected" in text
    assert "(1 no_identifiers)" in text


def test_words():
    """Numbers and names are told as people say them."""
    assert (counted(1, "file"), counted(2_000, "file")) == ("1 file", "2,000 files")
    assert named(list("abcdefg")) == "a, b, c, d, e and 2 more"
