"""What a user may import, what an import costs, what the installation needs."""

from __future__ import annotations

import ast
import importlib
import logging
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import odp_logging
from odp_logging import testing

from ..conftest import KEY
from ..interpreter import run_code


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
        "OutboxError",
        "Settings",
        "Stats",
        "__version__",
        "aflush",
        "bind_data",
        "bind_identifiers",
        "bound_data",
        "bound_identifiers",
        "clear_data",
        "clear_identifiers",
        "event",
        "flush",
        "flush_on_return",
        "outbox",
        "stats",
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
        ("wsgi", "wsgiref", ["IdentifierMiddleware", "init_app"]),
        ("asgi", "asyncio", ["IdentifierMiddleware"]),
        ("django", "django", ["IdentifierMiddleware", "identify_user"]),
        ("celery", "celery", ["connect"]),
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


def test_pyinstaller_finds_every_module():
    """An import statement names each module that is loaded at first use."""
    tree = ast.parse(Path(odp_logging.__file__).read_text())
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {*odp_logging._HOMES} - {"exceptions"} <= found


def test_the_names_for_tests_are_pinned():
    """So are those of `odp_logging.testing`, each of them documented."""
    assert sorted(testing.__all__) == [
        "EmulatedOdp",
        "Events",
        "Rejected",
        "block_network",
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
    "odp_logging._cli.main",
    "odp_logging._config.datafile",
    "odp_logging._events.delivery",
    "odp_logging._events.event",
    "odp_logging._capture.build",
    "odp_logging.emulator",
    "odp_logging._stores.spool.store",
    "odp_logging._transports.http",
    "odp_logging._transports.parallel",
    "odp_logging._transports.retry",
}
"""What a client with a destination loads, or nobody but those who ask."""

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


def loaded_after(code: str) -> set[str]:
    """Return the modules loaded by a new interpreter that runs *code*."""
    # The network block of this test run resolves the host.
    unwalled = "import os; os.environ.pop('ODP_BLOCK_NETWORK', None)"
    return {*run_code(f"{unwalled}\n{code}\nimport sys; print(*sys.modules)")}


@pytest.mark.parametrize(
    "code",
    [
        "import odp_logging",
        "from odp_logging import OdpHandler; OdpHandler()",
        "from odp_logging import OdpHandler, OdpProcessor; OdpProcessor()",
        CONFIGURED % "api_key='k', enabled=False",
        # Held back: no thread is started at all without a destination.
        f"{CONFIGURED}\nlog()" % "",
    ],
    ids=["import", "handler", "processor", "disabled", "logged"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    """An import, and a client that sends nothing, load little of anything."""
    # Python 3.14's logging imports dataclasses and inspect itself.
    modules = loaded_after(code) - loaded_after("import logging")

    assert sorted({name.partition(".")[0] for name in modules} & HEAVY) == []
    assert sorted(modules & LATE) == []


def test_the_package_alone_loads_only_its_version():
    """Until a name is asked for, no module of ours is loaded."""
    modules = loaded_after("import odp_logging")

    ours = {name for name in modules if name.startswith("odp_logging")}
    assert ours == {"odp_logging", "odp_logging._version"}


def test_the_first_log_call_imports_nothing_on_its_thread():
    """What sending takes was imported when the client was made."""
    code = """
me = threading.get_ident()
logging_now = [True]
hear(lambda: threading.get_ident() == me and logging_now)
log()
logging_now.clear()
"""
    host = "api_key='k', api_host='http://127.0.0.1:9', shutdown_timeout=0"

    assert run_code(CONFIGURED % host + code) == []


WATCHED = """
hear(lambda: threading.current_thread().name == "odp-logging")
log()
handler.client.flush(30)
"""


@pytest.mark.parametrize(
    "fault", [{}, {"status": 400}, {"status": 429}, {"drop": "before"}]
)
def test_the_sending_thread_imports_nothing(emulator, fault):
    """Other threads never meet a module that the sending thread imports half."""
    if fault:
        emulator.fault(**fault, count=1)
    host = emulator.url.replace("127.0.0.1", "localhost")
    settings = f"api_key={KEY!r}, api_host={host!r}, handle_sigterm=False"

    assert run_code(CONFIGURED % settings + WATCHED) == []


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_the_sending_thread_imports_nothing_for_a_spool(emulator, tmp_path, durability):
    """Nor for events on disk, or after an outage."""
    emulator.fault(status=503, count=1)
    settings = (
        f"api_key={KEY!r}, api_host={emulator.url!r}, handle_sigterm=False,"
        f" spool={str(tmp_path)!r}, durability={durability!r}"
    )
    assert run_code(CONFIGURED % settings + WATCHED) == []


def test_a_destination_that_comes_late_imports_nothing_on_the_sending_thread(emulator):
    """Nor after `configure`, with events waiting."""
    settings = f"{KEY!r}, api_host={emulator.url!r}"
    code = f"log()\nhandler.client.configure({settings})"

    assert run_code(f"{CONFIGURED % ''}\n{code}\n{WATCHED}") == []


WITHIN_DICT_CONFIG = """
import logging, logging.config, sys, threading
def settings():
    from odp_logging import OdpHandler
    return OdpHandler("k", api_host="http://127.0.0.1:9", handle_sigterm=False)
other = threading.Thread(target=threading.Event().wait, args=(30,), daemon=True)
%s
logging.config.dictConfig(
    {"version": 1, "handlers": {"odp": {"()": settings}}, "root": {"handlers": ["odp"]}}
)
print("urllib3" in sys.modules)
"""


@pytest.mark.parametrize("others", ["", "other.start()"])
def test_dict_config_imports_only_while_no_other_thread_runs(others):
    """An importing thread may want the lock that dictConfig holds: a deadlock."""
    assert run_code(WITHIN_DICT_CONFIG % others) == [str(not others)]


def test_nothing_is_imported_before_gevent_patches():
    """urllib3 imported before the patch fails with a RecursionError for all TLS."""
    pytest.importorskip("gevent")
    code = """
import sys, gevent
from odp_logging import OdpHandler
handler = OdpHandler("k", api_host="http://127.0.0.1:9", handle_sigterm=False)
print("urllib3" in sys.modules)
"""
    assert run_code(code) == ["False"]


def test_an_end_without_events_imports_nothing():
    """A program that configured a handler and logged no event ends at once."""
    assert run_code(CONFIGURED % "api_key='k'" + "hear(lambda: True)") == []


def test_an_end_after_a_delivery_imports_nothing(emulator):
    """The last events leave with what the first ones needed."""
    host = f"api_key={KEY!r}, api_host={emulator.url!r}"
    code = """
log()
assert handler.client.flush(30)
hear(lambda: True)
log()
"""

    assert run_code(CONFIGURED % host + code) == []


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
    said = run_code(CONFIGURED % host + code)

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

    assert run_code(CONFIGURED % host + code)[-2:] == ["accepted", "1"]


def test_the_version_is_one():
    """The package says the version that is installed."""
    assert odp_logging.__version__ == version("odp-logging")


def test_few_packages_are_needed():
    """Requests, structlog, and urllib3, which requests brings and we import."""
    needed = [line for line in requires("odp-logging") or [] if "extra ==" not in line]

    names = sorted(line.split(">")[0] for line in needed)
    assert names == ["requests", "structlog", "urllib3"]


@pytest.mark.parametrize("name", sorted(odp_logging.__all__))
def test_public_names_say_the_package(name):
    """A traceback or a repr names the public place of a class, not the file's."""
    module = getattr(getattr(odp_logging, name), "__module__", "odp_logging")

    # `typing.get_type_hints` looks the types of a TypedDict up in its module.
    expected = "odp_logging._config.typed" if name == "Settings" else "odp_logging"
    assert module in (expected, "odp_logging.exceptions")


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (
            odp_logging.OdpClient(enabled=False),
            "aclose aflush close configure flush identify send send_odp_event stats",
        ),
        (odp_logging.OdpProcessor(enabled=False), "client"),
        (
            odp_logging.OdpEvent("sold", {"email": "a@example.com"}),
            "action adjusted data idempotence_id identifiers json size to_dict type",
        ),
    ],
    ids=["client", "processor", "event"],
)
def test_completion_shows_no_internals(made, names):
    """An editor offers what applications use, and nothing else."""
    assert [name for name in dir(made) if not name.startswith("_")] == names.split()


def test_a_handler_adds_no_internals():
    """Besides what `logging.Handler` has, an editor offers the client alone."""
    plain = dir(logging.Handler())
    added = [
        name
        for name in dir(odp_logging.OdpHandler(enabled=False))
        if name not in plain and not name.startswith("_")
    ]

    assert added == ["client"]
