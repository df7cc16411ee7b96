"""The live stream tells a page each event once, the counts, and what it missed."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from odp_logging.emulator import Emulator
from odp_logging.emulator._ledger import Ledger

from .conftest import KEY, PATIENCE, an_event, call, connect, send, some_events


@dataclass(frozen=True)
class Message:
    """One message of the stream."""

    kind: str
    value: Any
    serial: str | None


class Reader:
    """Reads a stream as a browser does."""

    def __init__(self, odp: Emulator, path: str = "", last: str | None = None) -> None:
        self._connection = connect(odp)
        headers = {"Authorization": f"Bearer {odp.token}"}
        headers.update({} if last is None else {"Last-Event-ID": last})
        self._connection.request("GET", f"/_emulator/stream{path}", headers=headers)
        self.response: http.client.HTTPResponse = self._connection.getresponse()

    def close(self) -> None:
        """Leave, as a page that is closed."""
        self.response.close()
        self._connection.close()

    def next(self, kind: str) -> Message:
        """The next message of *kind*; others are passed over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            lines = self.block()
            if lines.get("event") == kind:
                return Message(kind, json.loads(lines["data"]), lines.get("id"))
        raise AssertionError(f"no {kind} came")

    def block(self) -> dict[str, str]:
        """The lines up to the next empty one, by name; a comment has no name."""
        lines = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, text = line.partition(": ")
            lines[name] = text
        return lines


OpenStream = Callable[..., Reader]


@pytest.fixture
def stream(odp: Emulator) -> Iterator[OpenStream]:
    """Opens streams that are closed in the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(
            contextlib.closing(Reader(odp, *args, **kwargs))
        )


def test_each_entry_is_told(odp: Emulator, stream: OpenStream) -> None:
    """Accepted, duplicate and rejected events come in order, as in the ledger."""
    page = stream()

    send(odp, [an_event(), an_event()])
    send(odp, [{}])
    told = [page.next("entry") for _ in range(3)]

    assert [message.value for message in told] == odp.events()
    assert [message.serial for message in told] == ["1", "2", "3"]


def test_it_is_an_event_stream(stream: OpenStream) -> None:
    """The answer is named as a browser wants it, and is not stored."""
    response = stream().response

    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"


def test_refused_requests_are_told_in_order(odp: Emulator, stream: OpenStream) -> None:
    """A request that left nothing in the ledger is told between those that did."""
    send(odp, [an_event(1)])
    send(odp, [an_event(2)], x_api_key="another")
    send(odp, [an_event(3), an_event(4, type="")])
    send(odp, [an_event(5)])
    page = stream()

    assert page.next("entry").value["n"] == 1
    forbidden = page.next("request").value
    assert [forbidden[name] for name in ("n", "status", "lost")] == [2, 403, 0]
    assert page.next("entry").value["status"] == "rejected"
    partly = page.next("request").value
    assert [partly[name] for name in ("n", "status", "lost")] == [3, 400, 1]
    assert "headers" not in partly and "ids" not in partly
    assert page.next("entry").value["n"] == 3

    again = stream("?since=2&requests=2")
    assert again.next("request").value["n"] == 3
    send(odp, b"{")
    assert again.next("request").value["n"] == 5
    assert call(odp, "GET", "/_emulator/stream?requests=x").status == 400


def test_refused_requests_wait_for_earlier_entries(
    odp: Emulator, stream: OpenStream
) -> None:
    """In a flood, too, a refused request comes after what was there before it."""
    for first in range(0, 1_500, 500):
        send(odp, some_events(first, first + 500))
    send(odp, b"{")
    send(odp, [an_event(9_999)])
    page = stream()

    assert page.next("request").value["n"] == 4
    assert page.next("entry").value["n"] == 1_501


def test_counts_are_told_when_they_change(odp: Emulator, stream: OpenStream) -> None:
    """The counts come at first, and again after each change."""
    page = stream()
    assert page.next("stats").value["received"] == 0

    send(odp, [an_event(), an_event()])

    counts = page.next("stats").value
    assert counts["received"] == 2
    assert counts["duplicates"] == 1
    odp.fault(status=503)
    assert page.next("stats").value["faults_active"] == 1


def test_what_was_there_before_is_told(odp: Emulator, stream: OpenStream) -> None:
    """A new page gets the kept events, from since on if it says so."""
    send(odp, some_events(0, 4))

    assert stream().next("entry").value["n"] == 1
    assert stream("?since=2").next("entry").value["n"] == 3


def test_who_comes_back_gets_what_was_missed(odp: Emulator, stream: OpenStream) -> None:
    """Last-Event-ID goes before since, as a browser repeats the old address."""
    page = stream()
    send(odp, some_events(0, 2))
    page.next("entry")
    last = page.next("entry").serial
    page.close()
    send(odp, some_events(2, 4))

    again = stream("?since=0", last=last)

    assert [again.next("entry").value["n"] for _ in range(2)] == [3, 4]


def test_a_serial_of_another_emulator_means_nothing(
    odp: Emulator, stream: OpenStream
) -> None:
    """Who knows more than there ever was gets all there is."""
    send(odp, [an_event()])

    assert stream(last="5000").next("entry").value["n"] == 1


def test_a_bad_serial_is_refused(odp: Emulator, stream: OpenStream) -> None:
    """A since that is no number is answered 400; a bad Last-Event-ID is no news."""
    send(odp, [an_event()])

    assert call(odp, "GET", "/_emulator/stream?since=x").status == 400
    assert stream(last="x").next("entry").value["n"] == 1


def test_an_emptied_ledger_is_told(odp: Emulator, stream: OpenStream) -> None:
    """A page learns that the ledger was emptied, and goes on from there."""
    page = stream()
    send(odp, [an_event()])
    page.next("entry")

    odp.clear()

    assert page.next("clear").value == {"clearings": 1}
    send(odp, [an_event()])
    assert page.next("entry").value["n"] == 2


def test_no_event_is_too_deep_to_be_told(odp: Emulator, stream: OpenStream) -> None:
    """An event that is taken is shown, however deep; the page goes on to the next."""
    page = stream()
    for depth in (400, *range(940, 1000), 20_000):
        nested = b"[" * depth + b"]" * depth
        body = b'{"type":"a","action":"b","identifiers":{"x":"y"},"data":{"x":%b}}'
        send(odp, body % nested)
    send(odp, [an_event(1)])

    told = [page.next("entry").value for _ in range(odp.stats()["last"])]
    assert len(told) >= 2
    assert told[-1]["event"] == an_event(1)
    assert call(odp, "GET", "/_emulator/events").status == 200


def test_a_flood_is_told_completely(odp: Emulator, stream: OpenStream) -> None:
    """More events than one round sends all come, in order."""
    page = stream()
    for first in range(0, 3_000, 500):
        send(odp, some_events(first, first + 500))

    assert list(range(1, 3_001)) == [page.next("entry").value["n"] for _ in range(3000)]


def test_a_quiet_stream_shows_signs_of_life() -> None:
    """Without events a comment comes now and then."""
    with (
        Emulator(key=KEY, ping_interval=0.05) as odp,
        contextlib.closing(Reader(odp)) as page,
    ):
        page.next("stats")

        assert page.block() == {"": "ping"} or page.block() == {"": "ping"}


def test_streams_are_capped(odp: Emulator, stream: OpenStream) -> None:
    """The 33rd page is told to wait, and served once another is closed."""
    pages = [stream() for _ in range(32)]

    busy = call(odp, "GET", "/_emulator/stream")

    assert busy.status == 503
    assert busy.headers["Retry-After"] == "10"
    assert "Too many pages are open" in busy.message
    pages[0].close()
    deadline = time.monotonic() + PATIENCE
    while (status := stream().response.status) == 503 and time.monotonic() < deadline:
        continue
    assert status == 200


def test_a_closed_page_is_noticed(odp: Emulator, stream: OpenStream) -> None:
    """The thread of a page ends soon after the page is gone."""
    stream().close()
    named = [t for t in threading.enumerate() if t.name == "odp-emulator-connection"]

    for thread in named:
        thread.join(PATIENCE)

    assert not any(thread.is_alive() for thread in named)


def test_stop_ends_a_stream(odp: Emulator, stream: OpenStream) -> None:
    """A page sees its stream end when the emulator stops."""
    page = stream()
    page.next("stats")

    odp.stop()

    assert page.response.read() == b""


def test_a_change_before_the_wait_is_not_missed() -> None:
    """Who waits for another version than the newest known is woken at once."""
    ledger = Ledger()
    version = ledger.wait_for_change(-1, 0)

    assert ledger.wait_for_change(version, 0) == version
    ledger.notify_all()
    assert ledger.wait_for_change(version, PATIENCE) != version
