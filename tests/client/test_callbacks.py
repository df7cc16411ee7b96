"""Callbacks of the application: before_send, on_delivery and on_drop."""

from __future__ import annotations

import functools
import gc
import time
import weakref
from typing import Any

import pytest

from odp_logging import OdpEvent

from ..waiting import until as wait_until
from .clients import WHO, list_events, make_client, read_warnings


def test_callbacks_get_the_outcome_of_events(emulator):
    """on_delivery gets what was accepted, on_drop what was not, with the reason."""
    delivered: list[OdpEvent] = []
    dropped: list[tuple[str, str]] = []
    emulator.fault(status=400, match="poison", keep=False)
    client = make_client(
        emulator,
        on_delivery=delivered.extend,
        on_drop=lambda events, reason: dropped.extend(
            (event.action, reason) for event in events
        ),
    )
    client.send_odp_event("good", WHO)
    client.send_odp_event("poison", WHO)
    client.send_odp_event("better", WHO)

    assert client.close()
    assert sorted(event.action for event in delivered) == ["better", "good"]
    assert [action for action, _ in dropped] == ["poison"]
    assert dropped[0][1].startswith("rejected: ")
    assert client.stats.rejected == {"refused": 1}


def test_dropped_events_reach_on_drop(emulator, caplog):
    """One line reports events dropped from a full buffer."""
    dropped: list[str] = []
    emulator.fault(status=503)
    client = make_client(
        emulator,
        max_queue_size=5,
        shutdown_timeout=0.2,
        on_drop=lambda events, reason: dropped.extend([reason] * len(events)),
    )
    for _ in range(20):
        client.send_odp_event("viewed", WHO)
    client.close()
    emulator.clear_faults()
    assert client.close(10)

    assert client.stats.dropped == {"overflow": 15}
    assert dropped == ["overflow"] * 15
    assert sum("buffer is full" in line for line in read_warnings(caplog)) == 1


def test_callbacks_may_raise_flush_close_and_log(emulator, caplog):
    """A callback that raises, flushes, closes or logs through us does no harm."""
    client = make_client(emulator)
    seen: list[object] = []

    def callback(events: Any) -> None:
        seen.append(client.flush(5))
        seen.append(client.close(5))
        client.send_odp_event("again", WHO)
        raise ZeroDivisionError

    client._destinations.flusher.reports._on_delivery = callback
    client.send_odp_event("viewed", WHO)

    assert client.flush(5)
    client.close()
    assert seen[0] is False
    assert client.stats.delivered == 1
    assert client.stats.rejected == {"in_callback": 1}
    assert any(
        "callback raised ZeroDivisionError at" in line for line in read_warnings(caplog)
    )


def test_before_send_may_replace_or_drop_an_event(emulator):
    """It returns another event, or None; the dropped one is counted."""

    def before_send(event: OdpEvent) -> OdpEvent | None:
        if event.action == "secret":
            return None
        return OdpEvent(event.action, {"vuid": "v"}, data={**event.data, "seen": True})

    client = make_client(emulator, before_send=before_send)
    client.send_odp_event("secret", WHO)
    client.send_odp_event("viewed", WHO)

    assert client.close()
    (event,) = list_events(emulator)
    assert event["identifiers"] == {"vuid": "v"}
    assert event["data"]["seen"] is True
    assert client.stats.dropped == {"before_send": 1}


def test_an_event_is_rejected_if_before_send_raises(emulator, caplog):
    """The callback may have had to remove something from it."""

    def before_send(event: OdpEvent) -> Any:
        if event.action == "raise":
            raise ZeroDivisionError
        return "text"

    client = make_client(emulator, before_send=before_send)
    client.send_odp_event("raise", WHO)
    client.send_odp_event("text", WHO)

    assert client.close()
    assert list_events(emulator) == []
    assert client.stats.rejected == {"not_buildable": 1, "bad_before_send": 1}
    line = before_send.__code__.co_firstlineno + 2
    assert any(
        f"before_send={before_send.__qualname__} raised ZeroDivisionError at"
        f" {__file__}:{line}. Fix the function" in text
        for text in read_warnings(caplog)
    )


def test_a_before_send_that_never_returns_an_event_is_told_at_once(emulator, caplog):
    """A missing ``return`` is found when the client is built, with name and line."""

    class Audit:
        def __call__(self, event: OdpEvent) -> None:
            self.last = event

    def forgets(event: OdpEvent) -> None:
        seen.append(event)

    def has_branch(event: OdpEvent) -> OdpEvent | None:
        return event if event.action else None

    seen: list[OdpEvent] = []
    for function in (has_branch, len, functools.partial(has_branch), itself):
        make_client(emulator, before_send=function).close()
    assert read_warnings(caplog) == []
    for function in (forgets, functools.partial(forgets), Audit(), Audit().__call__):
        caplog.clear()
        make_client(emulator, before_send=function).close()
        (line,) = read_warnings(caplog)
        assert f"{__file__}:" in line and "never returns an event" in line
        assert ("forgets" in line) or ("Audit.__call__" in line)


def itself(event: OdpEvent) -> OdpEvent:
    """Return *event*."""
    return event


def test_a_before_send_that_leaves_out_the_first_events_is_told_once(emulator, caplog):
    """After 20 events and none that is sent, a ``return`` is perhaps missing."""

    def forgets(event: OdpEvent) -> OdpEvent | None:
        if event.action == "never":
            return event
        return None

    def filters(event: OdpEvent) -> OdpEvent | None:
        return event if event.data["n"] == 5 else None

    for function, expected in ((forgets, 1), (filters, 0)):
        caplog.clear()
        client = make_client(emulator, before_send=function)
        for number in range(50):
            client.send_odp_event("viewed", WHO, data={"n": number})
        assert client.close(5)
        lines = [line for line in read_warnings(caplog) if "returned None" in line]
        assert len(lines) == expected


def test_on_drop_hears_of_rejected_log_calls(emulator):
    """The reason has file and line; there is no event to show."""
    dropped: list[tuple[int, str]] = []
    client = make_client(
        emulator,
        on_drop=lambda events, reason: dropped.append((len(events), reason)),
    )
    client.send_odp_event("viewed", {})
    client.identify({"email": "a@example.com"})
    client.send("text")  # type: ignore[arg-type]

    client.flush(5)
    wait_until(lambda: len(dropped) == 3)
    client.close(5)
    assert [count for count, _ in dropped] == [0, 0, 0]
    assert all(f"invalid: {__file__}:" in reason for _, reason in dropped)
    text = " ".join(sorted(reason for _, reason in dropped))
    assert "no identifiers" in text
    assert "identify needs" in text and "takes an OdpEvent" in text


def test_on_drop_may_log_an_event_each_time(emulator):
    """That event is rejected, and causes no further call."""
    calls: list[str] = []

    def on_drop(events: Any, reason: str) -> None:
        calls.append(reason)
        client.send_odp_event("lost", WHO)

    client = make_client(emulator, on_drop=on_drop)
    client.identify({})
    wait_until(lambda: bool(calls))

    assert client.close(5)
    assert len(calls) == 1
    assert client.stats.rejected == {"identify": 1, "in_callback": 1}


@pytest.mark.parametrize("background", [True, False])
def test_a_before_send_that_exits_rejects_one_event(emulator, background):
    """SystemExit in before_send affects no other event."""

    def before_send(event: OdpEvent) -> OdpEvent:
        if event.data["n"] == 2:
            raise SystemExit
        return event

    client = make_client(emulator, before_send=before_send, background=background)
    for number in range(5):
        client.send_odp_event("viewed", WHO, data={"n": number})

    assert client.close(5)
    assert [event["data"]["n"] for event in list_events(emulator)] == [0, 1, 3, 4]
    assert client.stats.rejected == {"not_buildable": 1}


def test_a_callback_that_exits_ends_no_thread(emulator):
    """SystemExit in a callback ends neither the flusher nor the application."""

    def on_delivery(events: Any) -> None:
        raise SystemExit

    client = make_client(emulator, on_delivery=on_delivery)
    for _ in range(3):
        client.send_odp_event("viewed", WHO)
        assert client.flush(5)

    assert len(list_events(emulator)) == 3
    client.close()


def test_before_send_runs_once_for_each_event(emulator):
    """Neither on_drop nor a full buffer makes it run again."""
    seen: list[int] = []
    dropped: list[str] = []

    def before_send(event: OdpEvent) -> OdpEvent | None:
        seen.append(event.data["n"])
        client.send_odp_event("again", WHO, data={"n": -1})
        return event if event.data["n"] % 2 else None

    emulator.fault(status=503)
    client = make_client(
        emulator,
        max_queue_size=10,
        shutdown_timeout=0.2,
        before_send=before_send,
        on_drop=lambda events, reason: dropped.extend([reason] * len(events)),
    )
    for number in range(40):
        client.send_odp_event("viewed", WHO, data={"n": number})
    client.close()
    emulator.clear_faults()

    assert client.close(10)
    assert len(seen) == len(set(seen))
    assert set(dropped) == {"overflow"}
    assert len(dropped) == client.stats.dropped["overflow"]


def test_a_client_with_its_owner_as_callback_is_collected(emulator):
    """An object and its client are collected though one is a callback of the other."""

    class Owner:
        def __init__(self) -> None:
            self.client = make_client(emulator, on_delivery=self.delivered)

        def delivered(self, events: object) -> None:
            pass

    owner = Owner()
    owner.client.send_odp_event("viewed", WHO)
    assert owner.client.close(5)
    limit = time.monotonic() + 5
    while owner.client._destinations.flusher._worker._thread is not None:
        assert time.monotonic() < limit
    left = weakref.ref(owner)
    del owner
    make_client(emulator).close()  # the next to register has the finished one forgotten
    gc.collect()

    assert left() is None
