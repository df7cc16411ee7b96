"""`odp_logging.testing`: what is logged in a block is captured, and nothing is sent."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.config
import os
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import structlog

from odp_logging import OdpClient, OdpEvent, OdpHandler, OdpProcessor
from odp_logging._capture import interception
from odp_logging.testing import Events, capture, emulated

from ..conftest import KEY
from ..emulated import list_warnings

WHO = {"email": "a@b.example"}


def purchase(logger: logging.Logger, number: object = 0) -> None:
    """Log an event as an application does."""
    extra = {"odp_action": "purchased", "odp_identifiers": WHO}
    logger.info("purchase", extra={**extra, "odp_data": {"n": number}})


def numbers(events: Any) -> list[Any]:
    """Return the numbers that `purchase` logged, in the order of *events*."""
    return [event.data["n"] for event in events]


def arrived(emulator: Any) -> list[Any]:
    """Return the numbers of the events that ODP received."""
    return [entry["event"]["data"]["n"] for entry in emulator.events()]


@pytest.fixture
def handler(emulator, logger):
    """Return a handler that sends to the emulator when it is flushed."""
    made = OdpHandler(KEY, api_host=emulator.url, flush_interval=60)
    logger.addHandler(made)
    return made


def test_only_events_logged_in_the_block_are_captured(handler, logger, emulator):
    """Buffered events are neither captured nor lost; later events are sent."""
    for number in range(3):  # the third takes the short way
        purchase(logger, number)
    with capture() as events:
        purchase(logger, "within")
    purchase(logger, "after")
    assert handler.client.flush(10)

    assert numbers(events) == ["within"]
    assert arrived(emulator) == [0, 1, 2, "after"]
    assert handler.client.stats.accepted == handler.client.stats.delivered == 4


def test_the_fast_path_is_used_again_after_the_block(handler, logger):
    """A capture leaves no state that a log call would have to check."""
    way = handler.client._router.inbox
    with capture():
        assert handler.client._router.inbox is not way

    assert handler.client._router.inbox is way
    assert handler.client._router._interceptors == ()


@pytest.mark.parametrize(
    "send",
    [
        lambda client: client.send_odp_event("purchased", WHO, data={"n": 1}),
        lambda client: client.send(OdpEvent("purchased", WHO, data={"n": 1})),
        lambda client: client.identify({"email": "a@b.example", "vuid": "v"}),
        lambda client: OdpProcessor(client)(
            None, "info", {"odp_action": "purchased", "odp_identifiers": WHO}
        ),
    ],
    ids=["send_odp_event", "send", "identify", "processor"],
)
@pytest.mark.parametrize("settings", [{}, {"background": False}, {"overflow": "block"}])
def test_handlers_processors_and_clients_are_captured(
    send: Callable[[OdpClient], object], settings: dict[str, Any], emulator
):
    """Clients and processors are captured as handlers are, however they send."""
    client = OdpClient(KEY, api_host=emulator.url, **settings)
    with capture() as events:
        send(client)
    assert client.close(10)

    assert [event.identifiers["email"] for event in events] == ["a@b.example"]
    assert emulator.stats()["requests"] == 0


def test_no_key_is_needed(logger, caplog):
    """Without a key an event is captured, without a warning about the key."""
    logger.addHandler(OdpHandler())
    with capture() as events:
        purchase(logger, 1)

    assert numbers(events) == [1]
    assert list_warnings(caplog) == []


def test_a_handler_configured_within_the_block_is_captured(emulator):
    """A handler of dictConfig is captured, and sends after the block."""
    handlers = {"class": "odp_logging.OdpHandler", "api_key": KEY}
    logger = logging.getLogger("shop.configured")
    with capture() as events:
        for _ in range(2):
            logging.config.dictConfig(
                {
                    "version": 1,
                    "disable_existing_loggers": False,
                    "handlers": {"odp": {**handlers, "api_host": emulator.url}},
                    "loggers": {logger.name: {"handlers": ["odp"], "level": "INFO"}},
                }
            )
            purchase(logger, "within")
    purchase(logger, "after")
    (handler,) = logger.handlers
    logger.removeHandler(handler)
    handler.close()

    assert numbers(events) == ["within", "within"]
    assert arrived(emulator) == ["after"]


def test_a_key_set_within_the_block_sends_nothing(emulator):
    """A client that is configured within the block sends only after it."""
    client = OdpClient()
    client.send_odp_event("purchased", WHO, data={"n": "before"})
    with capture() as events:
        client.configure(KEY, api_host=emulator.url)
        client.send_odp_event("purchased", WHO, data={"n": "within"})
    client.send_odp_event("purchased", WHO, data={"n": "after"})
    assert client.close(10)

    assert numbers(events) == ["within"]
    assert arrived(emulator) == ["before", "after"]


def test_a_handler_that_was_closed_is_captured(handler, logger, emulator):
    """A closed handler that is used again is captured like any other."""
    handler.close()
    with capture() as events:
        for number in range(3):
            purchase(logger, number)

    assert numbers(events) == [0, 1, 2]
    assert emulator.stats()["requests"] == 0


def test_nested_and_overlapping_blocks_capture(handler, logger):
    """Each block has all events logged while it was open, in any order of ending."""
    outer = capture()
    first = outer.__enter__()
    purchase(logger, 1)
    with capture() as inner:
        purchase(logger, 2)
        outer.__exit__(None, None, None)
        purchase(logger, 3)

    assert numbers(first) == [1, 2]
    assert numbers(inner) == [2, 3]


def test_an_exception_ends_the_block(handler, logger, emulator):
    """A block that raises captures nothing more."""
    with pytest.raises(LookupError), capture():
        raise LookupError
    purchase(logger, 1)
    assert handler.client.flush(10)

    assert arrived(emulator) == [1]


def test_a_block_that_ends_during_a_log_call_captures_its_event(logger):
    """The interceptor that a log call has found gets its event."""
    block = capture()

    def ends_it(event: OdpEvent) -> OdpEvent:
        block.__exit__(None, None, None)
        return event

    handler = OdpHandler(before_send=ends_it)
    logger.addHandler(handler)
    events = block.__enter__()
    purchase(logger, 1)

    assert numbers(events) == [1]
    assert handler.client.stats.rejected == {}


@pytest.fixture
def hectic() -> Iterator[None]:
    """Switch threads as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_lose_nothing_over_many_blocks(handler, logger, emulator, hectic):
    """Events logged while blocks begin and end are captured or sent exactly once."""
    logged: list[list[str]] = [[] for _ in range(4)]
    enough = threading.Event()

    def work(name: int) -> None:
        while not enough.wait(1e-5):
            number = f"{name}:{len(logged[name])}"
            purchase(logger, number)
            logged[name].append(number)

    def some_more() -> None:
        wanted = sum(map(len, logged)) + 8
        while sum(map(len, logged)) < wanted:
            threads[0].join(0.0005)
            assert all(thread.is_alive() for thread in threads)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    blocks = []
    try:
        for _ in range(30):
            with capture() as events:
                some_more()
            blocks.append(events)
            some_more()
    finally:
        enough.set()
        for thread in threads:
            thread.join(30)
    assert handler.client.flush(30)

    captured = [number for events in blocks for number in numbers(events)]
    assert sorted(captured + arrived(emulator)) == sorted(chain(*logged))
    assert len(captured) > 200 and len(arrived(emulator)) > 200


def test_async_code_is_captured(handler, logger):
    """Events of tasks and of their threads are captured."""

    async def checkout(number: int) -> None:
        await asyncio.sleep(0)
        purchase(logger, number)
        await asyncio.to_thread(purchase, logger, number + 10)

    async def main() -> Events:
        with capture() as events:
            await asyncio.gather(*map(checkout, range(3)))
        return events

    assert sorted(numbers(asyncio.run(main()))) == [0, 1, 2, 10, 11, 12]


def test_no_thread_is_started_and_nothing_heavy_imported():
    """Capturing starts no thread and imports no module that only sending needs."""
    code = """
import logging, sys, threading
from odp_logging import OdpHandler
from odp_logging.testing import capture
logger = logging.getLogger()
logger.addHandler(OdpHandler(api_key="k"))
with capture() as events:
    fields = {"odp_action": "a", "odp_identifiers": {"email": "a@b.example"}}
    logger.warning("x", extra=fields)
events.assert_one(action="a", identifiers={"email": "a@b.example"})
heavy = {"requests", "urllib3", "structlog", "sqlite3", "http", "pytest"}
print(threading.active_count(), *heavy & {*sys.modules})
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )

    assert (run.stdout, run.stderr) == ("1\n", "")


def test_a_forked_child_sends_nothing(emulator):
    """A child that is forked within the block has its own list."""
    code = f"""
import logging, os
from odp_logging import OdpHandler
from odp_logging.testing import capture
logger = logging.getLogger()
logger.addHandler(OdpHandler({KEY!r}, api_host={emulator.url!r}))
def log():
    fields = {{"odp_action": "a", "odp_identifiers": {{"email": "a@b.example"}}}}
    logger.warning("x", extra=fields)
with capture() as events:
    log()
    child = os.fork()
    log()
    if child:
        assert os.waitpid(child, 0)[1] == 0
print(len(events))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )

    assert (run.stdout, run.stderr) == ("2\n2\n", "")
    assert emulator.stats()["requests"] == 0


def test_settings_apply_to_captured_events(logger):
    """Defaults, redact and before_send produce the event that would be sent."""

    def before_send(event: OdpEvent) -> OdpEvent | None:
        return None if event.data["n"] == "left out" else event

    handler = OdpHandler(
        default_data={"shop": "Main Street"},
        default_identifiers={"vuid": "v"},
        redact=["card"],
        before_send=before_send,
    )
    logger.addHandler(handler)
    with capture() as events:
        purchase(logger, "left out")
        purchase(logger, {"card": "4111"})

    event = events.assert_one(data={"shop": "Main Street"}, identifiers={"vuid": "v"})
    assert event.data["n"] == {"card": "[redacted]"}
    assert events.rejected == []


def test_rejected_events_are_listed_with_their_reason(logger, caplog):
    """A rejection has reason, message and origin."""

    def fails(event: OdpEvent) -> OdpEvent:
        raise LookupError

    logger.addHandler(OdpHandler())
    client = OdpClient(before_send=fails)
    with capture() as events:
        logger.info("nobody", extra={"odp_action": "viewed"})
        client.identify({"email": "a@b.example"})
        client.send("no event")  # type: ignore[arg-type]
        client.send_odp_event("viewed", WHO)

    assert [each.reason for each in events.rejected] == [
        "no_identifiers",
        "identify",
        "no_event",
        "not_buildable",
    ]
    assert all(f"{__file__}:" in each.origin for each in events.rejected)
    assert "odp_logging.bind_identifiers" in events.rejected[0].message
    assert events == [] and list_warnings(caplog) == []
    assert client.stats.rejected == {}


def test_the_former_name_of_origins_is_deprecated(handler, logger):
    """`Events.places` is `Events.origins`, with a warning."""
    with capture() as events:
        purchase(logger)

    with pytest.warns(DeprecationWarning, match="use Events.origins"):
        places = events.places
    assert places is events.origins
    assert events.origins[events[0]].startswith(f"{__file__}:")


def test_an_event_logged_by_before_send_is_rejected(logger):
    """It is rejected in a capture as outside of one: it would recur."""

    def logs(event: OdpEvent) -> OdpEvent:
        purchase(logger, "again")
        return event

    logger.addHandler(OdpHandler(before_send=logs))
    with capture() as events:
        purchase(logger, 1)

    assert numbers(events) == [1]
    assert [each.reason for each in events.rejected] == ["in_callback"]


def test_an_exception_of_a_signal_handler_propagates(logger):
    """A time limit that a signal sets on the test is not reported as a bad event."""

    class TimeLimit(BaseException):
        pass

    def interrupted(event: OdpEvent) -> OdpEvent:
        raise TimeLimit

    logger.addHandler(OdpHandler(before_send=interrupted))
    with pytest.raises(TimeLimit), capture():
        purchase(logger, 1)


def test_a_disabled_client_is_not_captured(logger):
    """With enabled=False nothing would be sent; the failure names that cause."""
    logger.addHandler(OdpHandler(enabled=False))
    with capture() as events:
        purchase(logger, 1)

    with pytest.raises(AssertionError, match="client enabled"):
        events.assert_one()


def test_the_spool_stays_empty(tmp_path, emulator):
    """With durability="crash", a captured event does not reach the disk either."""
    client = OdpClient(
        KEY, api_host=emulator.url, spool=tmp_path / "spool", durability="crash"
    )
    with capture() as events:
        client.send_odp_event("purchased", WHO)
    assert client.close(10)

    assert len(events) == 1
    assert client.stats.accepted == emulator.stats()["requests"] == 0


def test_caplog_and_capture_work_together(handler, logger, caplog):
    """caplog has the record, the capture its event."""
    logger.propagate = True
    with capture() as events:
        purchase(logger, 1)

    assert {record.message for record in caplog.records} == {"purchase"}
    assert numbers(events) == [1]


def test_structlogs_capture_logs_and_capture_work_together():
    """capture_logs replaces the processors; given OdpProcessor, both have the event."""
    processor = OdpProcessor()
    structlog.configure(processors=[processor])
    try:
        logs = structlog.testing.capture_logs(processors=[processor])
    except TypeError:
        pytest.skip("this structlog's capture_logs takes no processors")
    with capture() as events, logs as lines:
        structlog.get_logger().info("x", odp_action="viewed", odp_identifiers=WHO)

    assert [line["event"] for line in lines] == ["x"]
    events.assert_one(action="viewed")


def test_a_unittest_case_enters_the_capture():
    """A TestCase enters it in setUp, and a cleanup leaves it."""

    class Case(unittest.TestCase):
        def setUp(self) -> None:
            block = capture()
            self.events = block.__enter__()
            self.addCleanup(block.__exit__, None, None, None)

        def test_it(self) -> None:
            OdpClient().send_odp_event("viewed", WHO)
            self.events.assert_one(action="viewed")

    result = unittest.TestResult()
    Case("test_it").run(result)

    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
    assert interception.current.captures == ()


def test_clients_are_referenced_weakly():
    """A client without other references is collected."""
    client = OdpClient()
    key = id(client._router)
    assert key in interception._clients
    del client
    gc.collect()

    assert key not in interception._clients


# The emulator, without pytest.


def test_assertions_of_the_emulator_flush_first():
    """Events can be asserted at once, since all clients are flushed."""
    with emulated() as odp, OdpClient(odp.api_key, api_host=odp.url) as client:
        client.send_odp_event("purchased", WHO, "order", {"total": 12.5})
        client.send_odp_event("viewed", WHO)

        odp.assert_one(type="order", identifiers=WHO, data__total=12.5)
        odp.assert_count(2)
        odp.assert_none(action="returned")
        assert [event.action for event in odp.find(type="fullstack")] == ["viewed"]
        assert odp.duplicates == 0
        assert odp.undelivered() == ""
        with pytest.raises(AssertionError, match=r"total  12\.5  wanted 13"):
            odp.assert_one(data__total=13)


def test_failing_simulates_an_outage():
    """Requests fail within failing(), and all events arrive after it."""
    with emulated() as odp, OdpClient(odp.api_key, api_host=odp.url) as client:
        with odp.failing(status=503, count=2, retry_after=0.05):
            client.send_odp_event("viewed", WHO)
            assert not odp.wait_for(1, timeout=0.01)
            assert odp.wait_for(1)

        assert odp.emulator.stats()["statuses"] == {"202": 1, "503": 2}
        assert odp.duplicates == 0


def test_the_old_name_of_count_still_works():
    """failing(times=) is failing(count=), with a warning that names the new word."""
    expected = pytest.warns(DeprecationWarning, match=r"failing\(count=")
    with emulated() as odp, expected as warned, odp.failing(times=2):
        assert odp.emulator._api.faults.list_active()[0]["count"] == 2
    assert warned[0].filename == __file__


def test_events_rejected_by_the_emulator_are_listed():
    """They are in `rejected`, with the reason."""
    with emulated() as odp, OdpClient(odp.api_key, api_host=odp.url) as client:
        with odp.failing(status=None, events=[0]):
            client.send_odp_event("viewed", WHO)
            odp.assert_none()

        assert [each.reason for each in odp.events.rejected] == ["refused"]
        assert odp.undelivered() == "1 rejected: refused"


def test_undelivered_events_are_dropped_with_the_emulator():
    """Clients of a test do not retry against a stopped emulator."""
    with emulated() as odp:
        client = OdpClient(odp.api_key, api_host=odp.url)
        with odp.failing(status=503):
            client.send_odp_event("viewed", WHO)
            line = odp.undelivered(timeout=0.05)
            odp.emulator.fault(status=503)
    assert line.startswith("1 waiting: ")

    assert client.close(0)
    assert client.stats.pending == 0
    # In doubt if a request was under way.
    assert client.stats.dropped in ({"emulator_stopped": 1}, {"in_doubt": 1})


@pytest.mark.parametrize("key", [None, "key"], ids=["no key", "another machine"])
def test_clients_created_earlier_send_to_the_emulator(logger, key):
    """Events of a handler that was created at import arrive as well."""
    handler = OdpHandler(key, default_data={"shop": "Main Street"})
    logger.addHandler(handler)
    with emulated() as odp:
        for number in range(3):
            purchase(logger, number)
        logger.info("nobody", extra={"odp_action": "viewed"})

        odp.assert_count(3, data__shop="Main Street")
        assert numbers(odp.events) == [0, 1, 2]
        assert odp.undelivered() == "1 rejected: no_identifiers"
        with capture() as events:
            purchase(logger, "captured")
        events.assert_one(data__n="captured")
        odp.assert_count(3)
    assert handler.client.stats.accepted == 1


# Runs of tests other than pytest's, and child processes.

CHILD = """
import sys
import time
import odp_logging

tried = []

def hear(event, given):
    if event == "socket.getaddrinfo" and given[0] != "127.0.0.1":
        tried.append(given[0])
        raise OSError("no test of ours looks up a name")

sys.addaudithook(hear)

def log():
    client = odp_logging.OdpClient(shutdown_timeout=0, timeout=1)
    client.send_odp_event("sold", {"fs_user_id": "u"})
    deadline = time.monotonic() + 5
    while not client.flush(0.05) and not tried and time.monotonic() < deadline:
        pass
    client.close()
    print(bool(tried), dict(client.stats.rejected), flush=True)

if __name__ == "__main__":
    log()
"""
CASE = """
import unittest, child
{before}
class Sale(unittest.TestCase):
    {mark}
    def test_it(self):
        {body}
{after}
"""
MANAGE = """
import sys
from django.conf import settings
settings.configure(DATABASES={}, INSTALLED_APPS=[], SECRET_KEY="x")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SENDS = "True {}\n"
BLOCKED = "False {'network_blocked': 1}\n"


def run_tests(
    folder: Path,
    command: list[str],
    *,
    body: str = "child.log()",
    before: str = "",
    mark: str = "",
    after: str = "",
    variable: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run *command* where a test logs an event for another machine."""
    case = CASE.format(body=body, before=before, mark=mark, after=after)
    files = {"child.py": CHILD, "test_sale.py": case, "manage.py": MANAGE}
    for name, text in files.items():
        (folder / name).write_text(text)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
    environ |= {"ODP_API_KEY": KEY, "ODP_API_HOST": "https://odp.invalid"}
    if variable is not None:
        environ["ODP_BLOCK_NETWORK"] = variable
    return subprocess.run(
        [sys.executable, *command],
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


UNITTEST = ["-m", "unittest", "-q", "test_sale"]
DJANGO = ["manage.py", "test", "-v", "0"]
MAIN = "if __name__ == '__main__': unittest.main()"
CALL = "import odp_logging.testing; odp_logging.testing.block_network()"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "more", "printed"),
    [
        (UNITTEST, {}, BLOCKED),
        (UNITTEST, {"variable": "0"}, SENDS),
        (UNITTEST, {"variable": "1"}, BLOCKED),
        (DJANGO, {}, BLOCKED),
        (DJANGO, {"variable": "off"}, SENDS),
        (["test_sale.py", "-q"], {"after": MAIN}, SENDS),
        (["test_sale.py", "-q"], {"after": MAIN, "before": CALL}, BLOCKED),
        (["test_sale.py", "-q"], {"after": MAIN, "variable": "true"}, BLOCKED),
        (["child.py"], {}, SENDS),
        (["child.py", "test"], {}, SENDS),
    ],
)
def test_other_test_runners_send_to_this_machine_only(tmp_path, command, more, printed):
    """unittest and Django are recognized; others need a variable or a call."""
    done = run_tests(tmp_path, command, **more)

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(printed)
    said = "odp_logging: an ODP event was not sent (fullstack/sold, logged at "
    assert done.stderr.count(said) == (printed == BLOCKED)
    assert ("or set ODP_BLOCK_NETWORK=0" in done.stderr) == (printed == BLOCKED)


LOGS_IN = {
    "subprocess": """import subprocess, sys
        subprocess.run([sys.executable, "child.py"], check=True)""",
    "spawn": """import multiprocessing
        made = multiprocessing.get_context("spawn").Process(target=child.log)
        made.start()
        made.join(30)""",
    "command": """import subprocess, sys
        command = [sys.executable, "-m", "odp_logging", "send", "sold", "--json"]
        command += ["--timeout", "1", "--identifier", "fs_user_id=u"]
        done = subprocess.run(command, capture_output=True, text=True)
        print("OdpNetworkBlocked" not in done.stdout, done.stderr)""",
}
PYTEST = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_sale.py"]
MARK = "@__import__('pytest').mark.odp_network"


@pytest.mark.slow
@pytest.mark.parametrize("how", LOGS_IN)
@pytest.mark.parametrize(
    ("command", "more", "printed"),
    [
        (PYTEST, {}, "False "),
        (PYTEST, {"mark": MARK}, "True "),
        (PYTEST, {"variable": "0"}, "True "),
        (UNITTEST, {"before": "import odp_logging; odp_logging.OdpClient()"}, "False "),
    ],
)
def test_child_processes_of_tests_send_to_this_machine_only(
    tmp_path, how, command, more, printed
):
    """They inherit it through the environment, but from a test that may send itself."""
    done = run_tests(tmp_path, command, body=LOGS_IN[how], **more)

    assert done.returncode == 0, done.stdout + done.stderr
    assert printed in done.stdout
    assert {"True ": "False ", "False ": "True "}[printed] not in done.stdout
