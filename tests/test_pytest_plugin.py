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
from odp_logging._config import Destination
from odp_logging._secret import Secret
from odp_logging.stores._directory import create, prepare
from odp_logging.stores._spoolfile import SpoolFile

from .conftest import KEY

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

    def made(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_shop=dedent(tests))
        return pytester.runpytest_subprocess(*LOADED, *QUICK, *options, timeout=60)

    return made


def test_odp_events(run):
    """Whatever was configured at import is captured; a failure shows the nearest."""
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
    result.stdout.no_fnmatch_line("*_captured.py*")


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
    """Handlers made at import, threads and children are blocked; each test is told."""
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
def test_who_wants_it_sees_blocked_tests_fail(run, options):
    """With warnings as errors, or odp_strict, a test whose events stop fails."""
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


def test_what_waited_before_is_kept(run):
    """What was put before there was a host is not sent to one that comes, nor lost."""
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


def test_what_lies_in_a_spool_is_no_tests_fault(run, tmp_path, monkeypatch):
    """What an earlier process left is kept; no test fails for it, even if strict."""
    home = tmp_path / "spool"
    prepare(home)
    with closing(
        SpoolFile(create(home, Destination(Secret(KEY), REAL).account))
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


def test_logged_outside_of_tests(run):
    """What a module logs at import is blocked as well, and told at the end."""
    result = run("import shop\nshop.checkout()\ndef test_it(): pass\n")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["OdpNetworkBlocked, outside of tests: an ODP event *"])


def test_the_wall_outlasts_the_run(run, pytester):
    """What a test has left behind is not sent by an atexit callback either."""
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
        with odp_emulator.failing(status=503, times=3, retry_after=0.1):
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
        assert logger.handlers[0].client.config.spool is not None

    def test_before_and_after():
        assert os.environ["ODP_API_HOST"] == "https://odp.invalid"
        assert os.environ["ODP_SPOOL"] == "of-the-shop"
"""


def test_odp_emulator(run, monkeypatch):
    """A real server for each test; in strict mode what does not arrive is an error."""
    monkeypatch.setenv("ODP_SPOOL", "of-the-shop")
    result = run(EMULATED, "-n", "2", "-o", "odp_strict=true")

    result.assert_outcomes(passed=11, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "*not delivered: 1 waiting: http://127.0.0.1:* gave no answer*",
            "*not delivered: 1 rejected: no_identifiers; mend that, or mark*",
            "*odp_strict: 1 rejected, the first */test_shop.py:* no_identifiers*",
        ]
    )


def test_odp_emulator_without_strict(run):
    """Without strict mode, undelivered events fail nothing and hold up nobody."""
    result = run(EMULATED, "-k", "waiting or rejected")

    result.assert_outcomes(passed=4, deselected=7)
    assert "undelivered" not in "".join(result.errlines)
    assert result.duration < 15


REPORTED = """
    import pytest, shop
    from odp_logging import OdpClient

    @pytest.mark.parametrize("number", range(6))
    def test_captured(odp_events, number):
        shop.checkout(total=number if number % 2 else 0.5)
        if number == 3:
            OdpClient().send_odp_event("viewed", {})

    def test_emulated(odp_emulator):
        shop.checkout(total=1)
        OdpClient().send_odp_event("viewed", {"vuid": "v"}, data={"page": None})

    def test_blocked():
        OdpClient().send_odp_event("viewed", {"email": "a@b.example"})
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_report(run, workers):
    """The report has each kind of event that was seen, from all workers together."""
    result = run(REPORTED, "--odp-report", "-n", workers)

    result.assert_outcomes(passed=8, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*= ODP events =*",
            "type       action    count  identifiers    data",
            "fullstack  viewed    2      email?, vuid?  page?:null",
            "order      purchase  7      fs_user_id     total:float|int",
            "rejected: 1 no_identifiers",
        ],
        consecutive=True,
    )


def test_a_run_that_logs_no_event_never_notices(run, pytester):
    """No warning, handler, thread, variable or module that was not there before."""
    result = run(
        """
        import logging, os, sys, threading

        def test_it():
            ours = {each for each in sys.modules if each.startswith("odp_logging")}
            assert ours == {
                "odp_logging", "odp_logging._tap", "odp_logging._version",
                "odp_logging._wall", "odp_logging.pytest_plugin",
            }
            heavy = {"requests", "structlog", "sqlite3", "http.server", "urllib3"}
            assert not heavy & {*sys.modules}
            assert threading.active_count() == 1
            names = [type(each).__module__ for each in logging.root.handlers]
            assert {*names} <= {"_pytest.logging"}
            assert os.environ["ODP_API_HOST"] == "https://odp.invalid"
        """,
        "-W", "error", "--strict-markers", "--strict-config",
        "-p", "no:xdist", "-p", "no:timeout",
    )  # fmt: skip

    result.assert_outcomes(passed=1)
    assert result.outlines[-1].startswith("=") and "warning" not in result.outlines[-1]


def test_with_djangos_client(run):
    """What a view logs, the test of that view sees."""
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


def test_the_example(pytester):
    """The example's tests pass, and its report is printed."""
    program = Path(__file__).parent.parent / "examples" / "test_shop.py"
    command = [
        sys.executable,
        "-m",
        "pytest",
        program,
        "--odp-report",
        "-c",
        os.devnull,
    ]
    result = pytester.run(*command, "-W", "error", *LOADED, *QUICK, timeout=60)

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        ["order  purchase  13     fs_user_id   currency:str, total:float"]
    )


def test_pytest_has_nothing_to_rewrite():
    """pytest warns of packages with a plugin imported before it, but not of ours."""
    assert odp_logging.__doc__ is not None
    assert "PYTEST_DONT_REWRITE" in odp_logging.__doc__


def test_the_plugin_imports_nothing_heavy():
    """At import it needs pytest, the standard library, and two small files."""
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
        "odp_logging._tap",
        "odp_logging._version",
        "odp_logging._wall",
        "odp_logging.pytest_plugin",
    ]


def test_what_pytest_6_lacks_is_not_needed():
    """The plugin is loaded for whoever has it installed, also by the pytest of 2021."""
    program = "import pytest; del pytest.StashKey; import odp_logging.pytest_plugin"
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert done.returncode == 0
