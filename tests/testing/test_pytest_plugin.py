"""The pytest plugin, in real runs of pytest: processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

import odp_logging
from odp_logging._config.destination import Destination
from odp_logging._runtime.secret import Secret
from odp_logging._stores.spool.directory import create_file, prepare
from odp_logging._stores.spool.file import SpoolFile

from ..conftest import KEY

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

QUICK = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
REAL = "https://odp.invalid"

PLUGINS = [each.value for each in entry_points(group="pytest11")]
LOADED = (
    ()
    if "odp_logging.pytest_plugin" in PLUGINS
    else ("-p", "odp_logging.pytest_plugin")
)

SHOP = """
import logging
from odp_logging import OdpHandler, OdpProcessor

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler(flush_interval=0.05))

def checkout(user="u1", total=12.5):
    logger.info("purchase", extra={
        "odp_type": "order", "odp_action": "purchase",
        "odp_identifiers": {"fs_user_id": user}, "odp_data": {"total": total},
    })
"""

NO_NETWORK = """
import sys

tried = []

def hear(event, given):
    if event == "socket.getaddrinfo" and given[0] != "127.0.0.1":
        tried.append(given[0])
        raise OSError("no test of ours looks up a name")

sys.addaudithook(hear)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on the shop and *tests*, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", REAL)
    pytester.makepyfile(shop=SHOP, conftest=NO_NETWORK)

    def run_pytest(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_shop=dedent(tests))
        return pytester.runpytest_subprocess(*LOADED, *QUICK, *options, timeout=60)

    return run_pytest


def test_odp_events(run):
    """Handlers configured at import are captured; a failure shows the closest event."""
    result = run("""
        import logging, unittest
        import shop, structlog
        from odp_logging import OdpClient, OdpProcessor

        processor = OdpProcessor()

        def test_handler(odp_events, caplog):
            shop.checkout()
            event = odp_events.assert_one(
                type="order", action="purchase", identifiers={"fs_user_id": "u1"},
                data__total=12.5,
            )
            assert event is odp_events[0]
            assert [record.message for record in caplog.records] == ["purchase"]

        def test_processor_and_client(odp_events):
            structlog.configure(processors=[processor])
            with structlog.testing.capture_logs() as logs:
                structlog.get_logger().info("x", odp_action="hidden")
            OdpClient().send_odp_event("viewed", {"vuid": "v"})
            odp_events.assert_one(action="viewed")

        def test_each_test_has_its_own(odp_events):
            odp_events.assert_none()

        def test_failing(odp_events):
            shop.checkout(total=13)
            odp_events.assert_one(action="purchase", data__total=12.5)

        class TestCase(unittest.TestCase):
            def test_it(self):
                from odp_logging.testing import capture
                with capture() as events:
                    shop.checkout()
                events.assert_one(action="purchase")
    """)

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">   *odp_events.assert_one(action=*",
            "E   *expected 1 event with action 'purchase', total=12.5; got none",
            "E   *the nearest is #1, logged at */shop.py:9:",
            "E     *  ! data.total  13          wanted 12.5",
            "E   *1 event captured",
        ]
    )
    result.stdout.no_fnmatch_line("*testing/events.py*")


BLOCKED = """
    import os, threading
    import pytest, shop
    from conftest import tried
    from odp_logging import OdpClient, OdpHandler, flush

    def test_at_import():
        for _ in range(3):
            shop.checkout()
        (handler,) = shop.logger.handlers
        assert handler.client.stats.rejected == {"network_blocked": 3}
        assert flush(10)

    def test_in_a_thread():
        thread = threading.Thread(target=shop.checkout)
        thread.start()
        thread.join(10)

    def test_at_once():
        OdpClient(background=False).send_odp_event("viewed", {"vuid": "v"})

    def test_in_a_forked_child():
        child = os.fork()
        if not child:
            shop.checkout()
            shop.checkout()
            os._exit(not flush(10) or len(tried))
        assert os.waitpid(child, 0)[1] == 0

    def test_captured(odp_events):
        shop.checkout()

    def test_with_an_emulator(odp_emulator):
        shop.checkout()
        odp_emulator.assert_one(action="purchase")

    def test_loopback(odp_emulator):
        OdpClient().send_odp_event("viewed", {"vuid": "v"})
        odp_emulator.assert_one(action="viewed")

    def test_a_spool(tmp_path):
        client = OdpClient(spool=tmp_path / "spool", durability="crash")
        client.send_odp_event("viewed", {"vuid": "v"})
        assert client.stats.spooled == 0

    def test_nobody():
        client = OdpClient()
        client.send_odp_event("viewed", {})
        assert client.stats.rejected == {"no_identifiers": 1}

    def test_nothing_was_tried():
        assert tried == []

    @pytest.mark.odp_network
    def test_marked():
        shop.checkout()

    def test_the_marked_one_tried():
        assert tried and {*tried} == {"odp.invalid"}
        tried.clear()
        shop.checkout()
        flush(0.2)
        assert tried == []
"""


def test_nothing_leaves_this_machine(run):
    """Handlers made at import, threads and children are blocked, with a warning."""
    result = run(BLOCKED, "-s")

    result.assert_outcomes(passed=12, warnings=5)
    assert not [line for line in result.errlines if "exiting" in line]
    told = [line for line in result.outlines if "OdpNetworkBlocked:" in line]
    assert "3 ODP events were not sent (the first order/purchase, logged at" in told[0]
    assert "shop.py:9): tests send to this machine only;" in told[0]
    assert "@pytest.mark.odp_network" in told[0]
    # The child's own line, of whose memory the tests know nothing.
    child = [line for line in result.errlines if line.startswith("odp_logging: an ODP")]
    assert len(child) == 1


@pytest.mark.parametrize("options", [["-W", "error"], ["-o", "odp_strict=true"]])
def test_blocked_tests_fail_in_strict_mode(run, options):
    """With warnings as errors, or odp_strict, a test with blocked events fails."""
    result = run(
        """
        import pytest, shop

        def test_blocked():
            shop.checkout()

        def test_silent(): pass
        """,
        *options,
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*OdpNetworkBlocked: an ODP event was not sent*"])


WITHOUT_KEY = """
    import pytest, shop

    def test_logging():
        shop.checkout()
        shop.checkout()

    def test_silent(): pass

    def test_captured(odp_events):
        shop.checkout()

    @pytest.mark.odp_lossy
    def test_lossy():
        shop.checkout()
"""


def test_strict_tests_fail_for_events_without_a_key(run, monkeypatch):
    """A test fails for its own events that wait for a key, and no other test does."""
    monkeypatch.delenv("ODP_API_KEY")
    result = run(WITHOUT_KEY, "-o", "odp_strict=true")

    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(
        [
            "odp_strict: 2 events were not sent: no key is set; look at events*",
            "ERROR *::test_logging*",
        ]
    )
    assert "undelivered" not in "".join(result.errlines)


def test_events_without_a_key_have_no_line_at_exit(run, monkeypatch):
    """They fail no test without odp_strict, and end with the run."""
    monkeypatch.delenv("ODP_API_KEY")
    result = run(WITHOUT_KEY, "-n", "1")

    result.assert_outcomes(passed=4)
    assert "undelivered" not in "".join(result.errlines)


def test_events_from_before_a_host_is_set_are_kept(run):
    """They are neither sent to a host that is set later nor lost."""
    result = run("""
        from conftest import tried
        from odp_logging import OdpClient

        def test_late(monkeypatch):
            monkeypatch.delenv("ODP_API_KEY")
            client = OdpClient(shutdown_timeout=0)
            client.send_odp_event("viewed", {"vuid": "v"})
            client.configure("key")
            for _ in range(200):
                assert not client.flush(0.05)
                if client.stats.last_error:
                    break
            assert (client.stats.pending, client.stats.requests) == (1, 0)
            assert "OdpNetworkBlocked" in client.stats.last_error
            assert tried == []
    """)

    result.assert_outcomes(passed=1)
    line = "OdpNetworkBlocked, outside of tests: *some waited for https://odp.invalid*"
    result.stdout.fnmatch_lines([line])


def test_events_of_an_earlier_process_fail_no_test(run, tmp_path, monkeypatch):
    """Events in the spool are kept, and no test fails for them, even if strict."""
    home = tmp_path / "spool"
    prepare(home)
    with closing(
        SpoolFile(create_file(home, Destination(Secret(KEY), REAL).fingerprint))
    ) as file:
        file.add([odp_logging.OdpEvent("viewed", {"vuid": "v"}).json], 1)
    monkeypatch.setenv("ODP_SPOOL", str(home))
    result = run(
        """
        import threading
        import time

        import shop

        def test_it():
            (handler,) = shop.logger.handlers
            limit = time.monotonic() + 20
            while not handler.client.stats.last_error and time.monotonic() < limit:
                threading.Event().wait(0.01)
            assert "OdpNetworkBlocked" in handler.client.stats.last_error
    """,
        "-W",
        "error",
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["OdpNetworkBlocked, outside of tests: *some waited*"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_events_logged_at_import_are_blocked_and_reported_at_the_end(run, workers):
    """The report comes from the workers of pytest-xdist as well."""
    code = "import shop\nshop.checkout()\ndef test_it(): pass\n"
    result = run(code, "-n", workers)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["OdpNetworkBlocked, outside of tests: an ODP event *"])


def test_the_network_block_outlasts_the_run(run, pytester):
    """An atexit callback does not send events that a test has left behind."""
    pytester.makepyfile(test_it="def test_it(): pass")
    pytester.makepyfile(
        program="""
        import sys
        import conftest, pytest
        assert pytest.main(["-q", "test_it.py", *sys.argv[1:]]) == 0
        import shop
        shop.checkout()
        shop.logger.handlers[0].close()
        print("tried", conftest.tried)
        """
    )
    result = pytester.run(sys.executable, "program.py", *LOADED, *QUICK, timeout=60)

    assert result.ret == 0
    assert result.outlines[-1] == "tried []"


EMULATED = """
    import logging, os, subprocess, sys
    import pytest
    from odp_logging import OdpHandler

    @pytest.fixture
    def logger(odp_emulator):
        made = logging.getLogger("till")
        handler = OdpHandler(level="INFO")
        made.addHandler(handler)
        yield made
        made.removeHandler(handler)

    def sell(logger):
        logger.warning("x", extra={
            "odp_action": "sold", "odp_identifiers": {"vuid": "v"},
            "odp_data": {"n": 1},
        })

    def test_outage(odp_emulator, logger):
        with odp_emulator.failing(status=503, count=3, retry_after=0.1):
            for _ in range(10):
                sell(logger)
            assert odp_emulator.wait_for(10, timeout=5)
        assert odp_emulator.duplicates == 0
        odp_emulator.assert_count(10, action="sold", data__n=1)
        assert len(odp_emulator.events) == 10

    def test_a_process(odp_emulator):
        code = "import odp_logging as o; o.OdpClient().identify({'a': 'b', 'c': 'd'})"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        assert odp_emulator.wait_for(1)
        odp_emulator.assert_one(action="identified")

    def test_waiting(odp_emulator, logger):
        odp_emulator.emulator.stop()
        sell(logger)

    def test_rejected(odp_emulator, logger):
        logger.warning("x", extra={"odp_action": "nobody"})

    @pytest.mark.odp_lossy
    def test_rejected_on_purpose(odp_events, odp_emulator, logger):
        logger.warning("x", extra={"odp_action": "nobody"})
        assert odp_events.rejected[0].reason == "no_identifiers"

    def test_rejected_in_memory(odp_events):
        OdpHandler().client.send_odp_event("viewed", {})

    @pytest.mark.parametrize("number", range(4))
    def test_spools(odp_emulator, number, logger):
        assert os.environ["ODP_API_HOST"] == odp_emulator.url
        assert "odp-spool" in os.environ["ODP_SPOOL"]
        assert logger.handlers[0].client._config.spool is not None

    def test_before_and_after():
        assert os.environ["ODP_API_HOST"] == "https://odp.invalid"
        assert os.environ["ODP_SPOOL"] == "of-the-shop"
"""


def test_odp_emulator(run, monkeypatch):
    """Each test has a real server; in strict mode an undelivered event is an error."""
    monkeypatch.setenv("ODP_SPOOL", "of-the-shop")
    result = run(EMULATED, "-n", "2", "-o", "odp_strict=true")

    result.assert_outcomes(passed=11, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "*not delivered: 1 waiting: 127.0.0.1:* refused the connection*",
            "*not delivered: 1 rejected: no_identifiers; fix that, or mark*",
            "*odp_strict: 1 rejected, the first */test_shop.py:* no_identifiers*",
        ]
    )


def test_odp_emulator_without_strict(run):
    """Without strict mode, undelivered events fail no test and delay no test."""
    result = run(EMULATED, "-k", "waiting or rejected")

    result.assert_outcomes(passed=4, deselected=7)
    assert "undelivered" not in "".join(result.errlines)
    assert result.duration < 40


def test_a_run_without_events_is_unaffected(run, pytester):
    """The plugin adds no warning, handler, thread or heavy module to such a run."""
    result = run(
        """
        import logging, os, sys, threading

        def test_it():
            ours = {name for name in sys.modules if name.startswith("odp_logging")}
            assert ours == {
                "odp_logging", "odp_logging._version", "odp_logging.pytest_plugin",
                "odp_logging._capture", "odp_logging._capture.interception",
                "odp_logging._capture.network_block",
            }
            heavy = {"requests", "structlog", "sqlite3", "http.server", "urllib3"}
            assert not heavy & {*sys.modules}
            assert threading.active_count() == 1
            names = [type(handler).__module__ for handler in logging.root.handlers]
            assert {*names} <= {"_pytest.logging"}
            assert os.environ["ODP_API_HOST"] == "https://odp.invalid"
        """,
        "-W", "error", "--strict-markers", "--strict-config",
        "-p", "no:xdist", "-p", "no:timeout",
    )  # fmt: skip

    result.assert_outcomes(passed=1)
    assert result.outlines[-1].startswith("=") and "warning" not in result.outlines[-1]


def test_a_test_with_djangos_client_captures_events_of_the_view(run):
    """The events that a view logs are in the list of the test."""
    pytest.importorskip("django")
    result = run("""
        import django
        from django.conf import settings
        from django.http import HttpResponse
        from django.urls import path

        def buy(request):
            import shop
            shop.checkout(user=request.GET["user"])
            return HttpResponse("thanks")

        urlpatterns = [path("buy", buy)]
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING={
            "version": 1, "disable_existing_loggers": False,
            "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
        })
        django.setup()

        def test_view(odp_events):
            from django.test import Client
            assert Client().get("/buy?user=u7").status_code == 200
            odp_events.assert_one(identifiers={"fs_user_id": "u7"})
    """)

    result.assert_outcomes(passed=1)


NEAR_MISSES = """
    import pytest
    from shop import logger

    def log():
        logger.info("sold", extra={"odp_acton": "b", "odp_identifiers": {"email": "x"}})

    def test_first():
        log()

    def test_second():
        log()

    @pytest.mark.odp_lossy
    def test_on_purpose():
        log()

    def test_ordinary():
        logger.info("sold", extra={"action": "b"})
"""
NEAR_MISS = '*test_shop.py:5: "odp_acton" is not a field of an event; did you mean*'


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")])
def test_near_misses_are_listed_once_and_fail_nothing(run, options):
    """A log call that looks like an event and is none; under xdist, too."""
    if options:
        pytest.importorskip("xdist")
    result = run(NEAR_MISSES, *options)

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([f"odp_logging, near miss at {NEAR_MISS}"])
    assert str(result.stdout).count("near miss at") == 1


def test_near_misses_can_fail_each_test_that_logs_one(run):
    """With odp_near_misses = error, but for a test marked odp_lossy."""
    result = run(NEAR_MISSES, "-o", "odp_near_misses=error")

    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines([f"odp_near_misses: {NEAR_MISS}"])


def test_near_misses_can_be_ignored_and_other_values_are_refused(run):
    """A suite may log them on purpose, as this one does."""
    result = run(NEAR_MISSES, "-o", "odp_near_misses=ignore")

    result.assert_outcomes(passed=4)
    assert "near miss at" not in str(result.stdout)
    result = run(NEAR_MISSES, "-o", "odp_near_misses=fail")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*odp_near_misses must be one of show, error, ignore*"]
    )


def test_the_example_passes(pytester):
    """Each test of examples/test_shop.py passes under the plugin."""
    program = Path(__file__).parents[2] / "examples" / "test_shop.py"
    command = [
        sys.executable,
        "-m",
        "pytest",
        program,
        "-c",
        os.devnull,
    ]
    result = pytester.run(*command, "-W", "error", *LOADED, *QUICK, timeout=60)

    result.assert_outcomes(passed=5)


def test_pytest_does_not_try_to_rewrite_the_package():
    """PYTEST_DONT_REWRITE prevents a warning where the package is imported first."""
    assert odp_logging.__doc__ is not None
    assert "PYTEST_DONT_REWRITE" in odp_logging.__doc__


def test_the_plugin_imports_nothing_heavy():
    """It imports pytest, the standard library and two small modules."""
    code = """
import sys, logging, pytest
before = {*sys.modules}
import odp_logging.pytest_plugin
print(*sorted({*sys.modules} - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == [
        "odp_logging",
        "odp_logging._capture",
        "odp_logging._capture.interception",
        "odp_logging._capture.network_block",
        "odp_logging._version",
        "odp_logging.pytest_plugin",
    ]


def test_the_plugin_can_be_imported_under_pytest_6():
    """pytest 6 loads the plugin too, and has no StashKey."""
    program = "import pytest; del pytest.StashKey; import odp_logging.pytest_plugin"
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert done.returncode == 0
