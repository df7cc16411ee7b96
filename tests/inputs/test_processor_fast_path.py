"""The processor's fast path: it captures what the general path would."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
import structlog.contextvars

from odp_logging import (
    OdpClient,
    OdpProcessor,
    bound_data,
    bound_identifiers,
    flush_on_return,
)
from odp_logging._capture.context import STRUCTLOG_WATCH
from odp_logging.emulator import Emulator

from ..conftest import KEY


class Size(str, Enum):
    """A text that is none exactly."""

    LARGE = "large"


WHO = {"email": "a@example.com"}
COMMON: list[dict[str, Any]] = [
    {"odp_identifiers": WHO},
    {"odp_identifiers": WHO, "odp_data": {"item": "shirt", "price": 5.5, "n": None}},
    {"odp_identifiers": {"customer_id": 7}, "odp_data": {"is_new": True}},
    {"odp_identifiers": WHO, "odp_type": "order", "order": 17},
    {"odp_identifiers": WHO, "odp_timestamp": 1_700_000_000.5},
    {"odp_identifiers": WHO, "odp_idempotence_id": "an-id"},
]
UNCOMMON: list[dict[str, Any]] = [
    {"odp_identifiers": WHO, "odp_data": {"sizes": [1, 2]}},
    {"odp_identifiers": WHO, "odp_data": {"size": Size.LARGE}},
    {"odp_identifiers": WHO, "odp_data": {"long": "x" * 300}},
    {"odp_identifiers": {"email": "x" * 300}},
    {"odp_identifiers": WHO, "odp_type": Size.LARGE},
]


@pytest.fixture
def general_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the actions of the events that took the general path."""
    actions: list[str] = []
    put = OdpClient._put

    def record(client: OdpClient, fields: Any, **more: Any) -> None:
        actions.append(fields["odp_action"])
        put(client, fields, **more)

    for name in ("structlog_odp_identifiers", "structlog_odp_data"):
        # Bound by another test: from then on each event takes the general path.
        monkeypatch.delitem(structlog.contextvars._CONTEXT_VARS, name, raising=False)
    monkeypatch.setattr(OdpClient, "_put", record)
    STRUCTLOG_WATCH.refresh()
    yield actions


def process(processor: OdpProcessor, fields: dict[str, Any]) -> Any:
    """Pass an event with *fields* to *processor*, as structlog does."""
    return processor(None, "info", {"event": "sold", "odp_action": "a", **fields})


def list_sent(client: OdpClient, emulator: Emulator) -> list[Any]:
    """Return the events that arrived, without ids and times."""
    assert client.flush(10)
    events = [each["event"] for each in emulator.events()]
    for event in events:
        for name in ("idempotence_id", "ts"):
            del event["data"][name]
    return events


@pytest.mark.parametrize("fields", COMMON)
def test_common_events_take_the_fast_path(client, emulator, general_calls, fields):
    """The same event arrives as on the general path, and the rest is printed."""
    fast, general = OdpProcessor(client), OdpProcessor(client)
    general._can_use_fast_path = False
    process(fast, fields)  # the first one refreshes what is known of structlog
    general_calls.clear()
    printed = process(fast, fields)
    assert general_calls == []
    assert printed == process(general, fields)
    assert general_calls == ["a"]

    first, *others = list_sent(client, emulator)
    assert others in ([first, first], [])  # one event if the ids are the same


@pytest.mark.parametrize("fields", UNCOMMON)
def test_uncommon_events_take_the_general_path(client, emulator, general_calls, fields):
    """Mutable and large values are copied in full, in the log call."""
    processor = OdpProcessor(client)
    process(processor, fields)
    process(processor, fields)

    assert general_calls == ["a", "a"]
    assert len(list_sent(client, emulator)) == 2


@pytest.mark.parametrize(
    "settings",
    [{"flush_level": "WARNING"}, {"debug": True}, {"redact": ["price"]}],
    ids=str,
)
def test_some_settings_need_the_general_path(emulator, general_calls, settings):
    """Those that decide or change something in the log call."""
    client = OdpClient(KEY, api_host=emulator.url, **settings)
    processor = OdpProcessor(client)
    process(processor, COMMON[0])
    process(processor, COMMON[0])

    assert general_calls == ["a", "a"]
    assert len(list_sent(client, emulator)) == 2
    client.close()


def test_tags_that_stay_need_the_general_path(client, emulator, general_calls):
    """With strip=False an OdpHandler further down must not send the event again."""
    processor = OdpProcessor(client, strip=False)
    process(processor, COMMON[0])
    printed = process(processor, COMMON[0])

    assert general_calls == ["a", "a"]
    assert printed["odp_action"] == "a"
    assert len(list_sent(client, emulator)) == 2


def test_bound_values_are_added(client, emulator, general_calls):
    """Also on the fast path."""
    processor = OdpProcessor(client)
    process(processor, COMMON[0])
    with bound_identifiers(customer_id="7"), bound_data(shop="Berlin"):
        process(processor, {})
    _, event = list_sent(client, emulator)

    assert event["identifiers"] == {"customer_id": "7"}
    assert event["data"]["shop"] == "Berlin"


def test_misspelt_fields_are_reported(client, emulator, caplog):
    """A new name in an event is examined before the fast path is taken."""
    processor = OdpProcessor(client)
    process(processor, COMMON[0])
    process(processor, {**COMMON[0], "odp_datas": {"price": 5}})

    assert len(list_sent(client, emulator)) == 2
    assert 'did you mean "odp_data"?' in caplog.text


def test_a_rejected_event_has_its_place(client, emulator, caplog):
    """File and line of the log call, which the fast path looks up as well."""
    processor = OdpProcessor(client)
    process(processor, COMMON[0])
    process(processor, {})
    client.flush(10)

    assert f"{__file__}:" in caplog.text
    assert "no identifiers in fullstack/a" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_sends_its_own_events(client, emulator):
    """The inbox of the parent is not the child's."""
    processor = OdpProcessor(client)
    process(processor, COMMON[0])
    assert client.flush(10)
    process(processor, COMMON[0])
    child = os.fork()
    if child == 0:
        process(processor, {**COMMON[0], "odp_action": "b"})
        os._exit(0 if client.flush(10) else 1)
    assert os.waitpid(child, 0)[1] == 0

    sent = sorted(event["action"] for event in list_sent(client, emulator))
    assert sent == ["a", "a", "b"]


def test_two_processors_may_get_the_same_dict(emulator, general_calls):
    """A processor may pass its dict to two others, one for each account."""
    clients = [OdpClient(KEY, api_host=emulator.url) for _ in range(2)]
    processors = [OdpProcessor(client) for client in clients]
    for _ in range(3):
        given = {"event": "sold", "odp_action": "a", "odp_identifiers": WHO}
        for processor in processors:
            assert processor(None, "info", given) == {"event": "sold"}
        assert given["odp_identifiers"] == WHO
    for client in clients:
        assert client.flush(10)
        assert client.stats.delivered == 3
        client.close()


def test_a_time_limit_that_interrupts_the_wait_for_room_does_not_double_the_event(
    client, general_calls, monkeypatch
):
    """The event is kept before the call waits, and the exception reaches the caller."""

    class TimeLimit(Exception):
        pass

    def interrupt() -> None:
        raise TimeLimit

    processor = OdpProcessor(client)
    process(processor, {"odp_identifiers": WHO})
    assert client.flush(10)
    router = client._router
    router.inbox.nearly_full = True
    monkeypatch.setattr(router, "apply_backpressure", interrupt)

    with pytest.raises(TimeLimit):
        process(processor, {"odp_identifiers": WHO})
    router.inbox.nearly_full = False
    assert client.flush(10)
    assert client.stats.accepted == client.stats.delivered == 2


def test_the_line_of_the_call_is_found_for_each_class_of_logger(client, emulator):
    """Loggers of several classes take turns, with other numbers of frames."""
    places = []

    def note(logger: Any, name: str, event_dict: Any) -> Any:
        places.append(client._router.inbox.queue[-1][8:10])
        return event_dict

    client._router.inbox.is_flusher_idle = False  # captures stay in the inbox
    client._router.inbox.check_after = 1000
    loggers = [
        structlog.wrap_logger(
            structlog.ReturnLogger(),
            wrapper_class=kind,
            processors=[
                OdpProcessor(client),
                note,
                structlog.processors.KeyValueRenderer(),
            ],
        )
        for kind in (
            structlog.BoundLogger,
            structlog.make_filtering_bound_logger(20),
            structlog.stdlib.BoundLogger,
        )
    ]

    def log_deeper(logger: Any, depth: int) -> int:
        if depth:
            return log_deeper(logger, depth - 1)
        logger.info("sold", odp_action="a", odp_identifiers=WHO)
        return sys._getframe().f_lineno - 1

    # With a frame of the library between the callers, as in many applications.
    log_in_decorator = flush_on_return(log_deeper)
    log_deeper(loggers[0], 0)  # the first one refreshes what is known of structlog
    places.clear()
    for depth in (0, 3, 1, 2):
        for logger in (*loggers, *reversed(loggers)):
            for log in (log_deeper, log_in_decorator):
                line = log(logger, depth)
                assert places.pop() == (__file__, line)
    client._router.check_inbox(client._router.inbox)
