"""What a user may import, what an import costs, what the installation needs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import odp_logging
from odp_logging import testing

from .conftest import KEY


def test_the_public_names_are_pinned():
    """These names, and no others, are kept for years."""
    assert sorted(odp_logging.__all__) == [
        "ConfigurationError",
        "ContextFilter",
        "HideOdpFields",
        "InvalidEventError",
        "OdpClient",
        "OdpEvent",
        "OdpHandler",
        "OdpLoggingError",
        "OdpProcessor",
        "Stats",
        "__version__",
        "aflush",
        "bind_data",
        "bind_identifiers",
        "bound_data",
        "bound_identifiers",
        "clear_data",
        "clear_identifiers",
        "flush",
        "flush_on_return",
    ]


@pytest.mark.parametrize(
    ("module", "needs", "names"),
    [
        (
            "optimizely",
            "optimizely.odp",
            ["OdpBridge", "bind_user", "bound_user", "settings_from"],
        ),
        ("prometheus", "prometheus_client", ["OdpCollector"]),
        ("opentelemetry", "opentelemetry.metrics", ["instrument", "uninstrument"]),
    ],
)
def test_the_names_of_extras_are_pinned(module, needs, names):
    """What an extra adds is in a module of its own, under these names."""
    pytest.importorskip(needs)
    found = importlib.import_module(f"odp_logging.{module}")

    assert found.__all__ == names
    assert all(getattr(found, name).__doc__ for name in names)


@pytest.mark.parametrize("name", odp_logging.__all__)
def test_every_public_name_is_there_and_documented(name):
    """Each public name can be imported, is listed, and says what it is."""
    value = getattr(odp_logging, name)

    assert name in dir(odp_logging)
    assert name == "__version__" or value.__doc__


def test_the_names_for_tests_are_pinned():
    """So are those of `odp_logging.testing`, each of them documented."""
    assert sorted(testing.__all__) == [
        "EmulatedOdp",
        "Events",
        "Rejected",
        "capture",
        "emulated",
    ]
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)


def test_other_names_are_missing_with_the_usual_error():
    """A misspelt name is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'OdpHandlr'"):
        _ = odp_logging.OdpHandlr


HEAVY = {
    "argparse",
    "asyncio",
    "concurrent",
    "ctypes",
    "dataclasses",
    "decimal",
    "difflib",
    "email",
    "hashlib",
    "http",
    "inspect",
    "ipaddress",
    "json",
    "multiprocessing",
    "opentelemetry",
    "optimizely",
    "pathlib",
    "platform",
    "prometheus_client",
    "queue",
    "random",
    "requests",
    "socket",
    "sqlite3",
    "ssl",
    "structlog",
    "subprocess",
    "tempfile",
    "urllib",
    "urllib3",
    "uuid",
}
"""What takes a millisecond or more to load, or stands for something that does."""

LATE = {
    "odp_logging._cli",
    "odp_logging._datafile",
    "odp_logging._delivery",
    "odp_logging._event",
    "odp_logging._making",
    "odp_logging.emulator",
    "odp_logging.stores._spool",
    "odp_logging.transports._http",
    "odp_logging.transports._retry",
}
"""What the flusher's thread loads, or nobody but those who ask."""

CONFIGURED = """
import logging, sys, threading
from odp_logging import OdpHandler
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
handler = OdpHandler(%s)
logger.addHandler(handler)

def log(logger=logger):
    extra = {"odp_action": "viewed", "odp_identifiers": {"email": "a@example.com"}}
    extra["odp_data"] = {"price": 50.0, "tags": ["a"], "of": {"a": object()}}
    logger.info("viewed", extra=extra)

def hear(whom):
    sys.addaudithook(
        lambda event, given: event == "import"
        and given[0] != "gc"  # the interpreter's own, at its end
        and whom() and print(given[0], flush=True)
    )
"""


def said_by(code: str) -> list[str]:
    """
    Return what a new interpreter prints that runs *code*, by words.

    Without `site`: what an installation loads there would be found and not be ours.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def loaded_after(code: str) -> set[str]:
    """Return the modules loaded by a new interpreter that runs *code*."""
    return {*said_by(f"{code}\nimport sys; print(*sys.modules)")}


@pytest.mark.parametrize(
    "code",
    [
        "import odp_logging",
        "from odp_logging import OdpHandler; OdpHandler('k')",
        "from odp_logging import OdpHandler, OdpProcessor; OdpProcessor(api_key='k')",
        CONFIGURED % "api_key='k'",
        # Held back: no thread is started at all without a destination.
        f"{CONFIGURED}\nlog()" % "",
    ],
    ids=["import", "handler", "processor", "configured", "logged"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    """An import, a configured handler and a log call load little of anything."""
    modules = loaded_after(code)

    assert sorted({name.partition(".")[0] for name in modules} & HEAVY) == []
    assert sorted(modules & LATE) == []


def test_the_package_alone_loads_only_its_version():
    """Until a name is asked for, no module of ours is loaded."""
    modules = loaded_after("import odp_logging")

    ours = {name for name in modules if name.startswith("odp_logging")}
    assert ours == {"odp_logging", "odp_logging._version"}


def test_the_first_log_call_imports_nothing_on_its_thread():
    """What sending takes is imported by the flusher's thread."""
    code = """
me = threading.get_ident()
logging_now = [True]
hear(lambda: threading.get_ident() == me and logging_now)
log()
logging_now.clear()
"""
    host = "api_key='k', api_host='http://127.0.0.1:9', shutdown_timeout=0"

    assert said_by(CONFIGURED % host + code) == []


def test_an_end_without_events_imports_nothing():
    """A program that configured a handler and logged no event ends at once."""
    assert said_by(CONFIGURED % "api_key='k'" + "hear(lambda: True)") == []


def test_an_end_after_a_delivery_imports_nothing(emulator):
    """The last events leave with what the first ones needed."""
    host = f"api_key={KEY!r}, api_host={emulator.url!r}"
    code = """
log()
assert handler.client.flush(30)
hear(lambda: True)
log()
"""

    assert said_by(CONFIGURED % host + code) == []


@pytest.mark.parametrize("settings", ["", "on_drop=print"])
def test_a_finaliser_needs_no_import(emulator, settings):
    """Logging and asking for stats work when nothing can be imported any more."""
    host = f"api_key={KEY!r}, api_host={emulator.url!r}, {settings}"
    code = """
class Late:
    def __del__(self, log=log, handler=handler, print=print):
        log()
        print("accepted", handler.client.stats.accepted, flush=True)

late = Late()
late.itself = late
log()
assert handler.client.flush(30)
"""
    said = said_by(CONFIGURED % host + code)

    assert said[-2:] == ["accepted", "2"]
    assert ("<OdpEvent" in " ".join(said)) == bool(settings)


def test_a_finaliser_sends_an_event(emulator):
    """An event made before is counted when the first one is sent by a finaliser."""
    code = """
class Late:
    def __init__(self):
        from odp_logging import OdpEvent

        self.event = OdpEvent("late", {"email": "a@b.example"})

    def __del__(self, client=handler.client, print=print):
        client.send(self.event)
        print("accepted", client.stats.accepted, flush=True)

late = Late()
late.itself = late
"""
    host = f"api_key={KEY!r}, api_host={emulator.url!r}"

    assert said_by(CONFIGURED % host + code)[-2:] == ["accepted", "1"]


def test_the_version_is_one():
    """The package says the version that is installed."""
    assert odp_logging.__version__ == version("odp-logging")


def test_two_packages_are_needed():
    """The runtime dependencies are requests and structlog, and no others."""
    needed = [line for line in requires("odp-logging") or [] if "extra ==" not in line]

    assert sorted(line.split(">")[0] for line in needed) == ["requests", "structlog"]
