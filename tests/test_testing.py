"""`odp_logging.testing`: what is logged in a block is captured, and nothing is sent."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.config
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
import structlog

from odp_logging import OdpClient, OdpEvent, OdpHandler, OdpProcessor, _tap
from odp_logging.testing import Events, capture, emulated

from .conftest import KEY

WHO = {"email": "a@b.example"}


def purchase(logger: logging.Logger, number: object = 0) -> None:
    """Log an event as an application does."""
    extra = {"odp_action": "purchased", "odp_identifiers": WHO}
    logger.info("purchase", extra={**extra, "odp_data": {"n": number}})


def numbers(events: Any) -> list[Any]:
    """Return what `purchase` numbered, in the order of *events*."""
    return [event.data["n"] for event in events]


def arrived(emulator: Any) -> list[Any]:
    """Return the numbers that ODP got."""
    return [entry["event"]["data"]["n"] for entry in emulator.events()]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the library said about itself."""
    return [each.message for each in caplog.records if each.name == "odp_logging"]


@pytest.fixture
def handler(emulator, logger):
    """A handler that sends to the emulator when it is flushed."""
    made = OdpHandler(KEY, api_host=emulator.url, flush_interval=60)
    logger.addHandler(made)
    return made


def test_only_what_is_logged_in_the_block_is_captured(handler, logger, emulator):
    """What waits in the buffer is neither captured nor lost; later events are sent."""
    for number in range(3):  # the third takes the short way
        purchase(logger, number)
    with capture() as events:
        purchase(logger, "within")
    purchase(logger, "after")
    assert handler.client.flush(10)

    assert numbers(events) == ["within"]
    assert arrived(emulator) == [0, 1, 2, "after"]
    assert handler.client.stats.accepted == handler.client.stats.delivered == 4


def test_the_short_way_is_open_again_after_the_block(handler, logger):
    """A capture leaves nothing that a log call would have to look at."""
    way = handler.client.intake
    with capture():
        assert handler.client.intake is not way

    assert handler.client.intake is way
    assert handler.client._taps == ()


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
def test_whoever_sends_is_captured(
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
    """Without a key an event is captured, and nobody is told that there is none."""
    logger.addHandler(OdpHandler())
    with capture() as events:
        purchase(logger, 1)

    assert numbers(events) == [1]
    assert warnings(caplog) == []


def test_dict_config_within_the_block(emulator):
    """A handler that is made within the block is captured, and sends afterwards."""
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


def test_a_client_that_is_configured_within_the_block(emulator):
    """A key that comes within the block sends nothing before its end."""
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


def test_blocks_within_each_other(handler, logger):
    """Each block has all that was logged while it was open, whichever ends first."""
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


def test_a_block_that_ends_amid_a_log_call(logger):
    """Who was asked to take an event takes it, whatever others do meanwhile."""
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
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_lose_nothing_over_many_blocks(handler, logger, emulator, hectic):
    """What threads log while blocks begin and end is captured or sent, and once."""
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
    """Tasks, and what they leave to threads, are captured."""

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
    """A captured event costs neither a thread nor an import of what sending takes."""
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
    """A child that is forked within the block captures for itself."""
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


def test_settings_hold(logger):
    """Defaults, redact and before_send make the event that would have been sent."""

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


def test_rejected_events_show_with_their_reason(logger, caplog):
    """What could not become an event is there with reason, message and place."""

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
    assert events == [] and warnings(caplog) == []
    assert client.stats.rejected == {}


def test_what_before_send_logs_does_not_recur(logger):
    """An event within a callback is rejected in a capture as it is elsewhere."""

    def logs(event: OdpEvent) -> OdpEvent:
        purchase(logger, "again")
        return event

    logger.addHandler(OdpHandler(before_send=logs))
    with capture() as events:
        purchase(logger, 1)

    assert numbers(events) == [1]
    assert [each.reason for each in events.rejected] == ["in_callback"]


def test_an_interruption_goes_up(logger):
    """A time limit that a signal sets on the test is not taken for a bad event."""

    class TimeLimit(BaseException):
        pass

    def interrupted(event: OdpEvent) -> OdpEvent:
        raise TimeLimit

    logger.addHandler(OdpHandler(before_send=interrupted))
    with pytest.raises(TimeLimit), capture():
        purchase(logger, 1)


def test_a_disabled_client_sends_nothing_to_capture(logger):
    """With enabled=False nothing would be sent, and the failure says so."""
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


def test_beside_caplog(handler, logger, caplog):
    """caplog has the record, the capture its event."""
    logger.propagate = True
    with capture() as events:
        purchase(logger, 1)

    assert {record.message for record in caplog.records} == {"purchase"}
    assert numbers(events) == [1]


def test_within_structlogs_capture_logs():
    """capture_logs replaces the processors; given ours, both have the event."""
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


def test_in_unittest():
    """A TestCase enters it in setUp, and leaves it when the test is over."""

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
    assert _tap.current.captures == ()


def test_clients_are_not_held():
    """A client that nobody holds any more is forgotten."""
    client = OdpClient()
    key = id(client)
    assert key in _tap._clients
    del client
    gc.collect()

    assert key not in _tap._clients


# The emulator, without pytest.


def test_the_emulator_answers_questions():
    """What arrived can be asked for at once: all clients send first."""
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


def test_an_outage_is_played():
    """failing() has requests fail, and all arrives once it is over."""
    with emulated() as odp, OdpClient(odp.api_key, api_host=odp.url) as client:
        with odp.failing(status=503, times=2, retry_after=0.05):
            client.send_odp_event("viewed", WHO)
            assert not odp.wait_for(1, timeout=0.01)
            assert odp.wait_for(1)

        assert odp.emulator.stats()["statuses"] == {"202": 1, "503": 2}
        assert odp.duplicates == 0


def test_what_the_emulator_rejects_shows():
    """An event that ODP refuses stands among the rejected, with the reason."""
    with emulated() as odp, OdpClient(odp.api_key, api_host=odp.url) as client:
        with odp.failing(status=None, events=[0]):
            client.send_odp_event("viewed", WHO)
            odp.assert_none()

        assert [each.reason for each in odp.events.rejected] == ["refused"]
        assert odp.undelivered() == "1 rejected: refused"


def test_what_is_left_is_dropped_with_the_emulator():
    """Clients made for a test do not go on asking an emulator that is gone."""
    with emulated() as odp:
        client = OdpClient(odp.api_key, api_host=odp.url)
        with odp.failing(status=503):
            client.send_odp_event("viewed", WHO)
            line = odp.undelivered(timeout=0.05)
            odp.emulator.fault(status=503)
    assert line.startswith("1 waiting: ")

    assert client.close(0)
    assert client.stats.pending == 0
    assert client.stats.dropped == {"emulator_stopped": 1}


@pytest.mark.parametrize("key", [None, "key"], ids=["no key", "another machine"])
def test_clients_made_before_send_to_the_emulator(logger, key):
    """What is logged through a handler that was made at import arrives as well."""
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
