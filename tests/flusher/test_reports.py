"""Log lines about rejected events: they name the event and show none of its values."""

from __future__ import annotations

import json
import logging

import pytest

from odp_logging import OdpEvent
from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._flusher.reports import Reports
from odp_logging._runtime.diagnostics import Diagnostics
from odp_logging._stores.buffer import Buffer
from odp_logging._transports.responses import read_response

from .conftest import FakeCapture

IDENTIFIERS = {"fs_user_id": "u1"}


@pytest.fixture
def log_rejection(caplog):
    """Return a function that returns the log line about a rejected event."""
    caplog.set_level(logging.WARNING)
    store = Buffer(
        lambda x, _=None: x, batch_size=1, batch_bytes=1, max_size=1, max_bytes=1
    )

    def log_rejection(event: OdpEvent, message: str) -> str:
        invalids = [{"event": 0, "message": message}]
        answer = json.dumps({"detail": {"invalids": invalids}}).encode()
        delivery = read_response(400, {}, answer, 1, "host")
        Reports(Diagnostics()).report_batch(Batch([event]), delivery, store)
        return caplog.records[-1].getMessage()

    return log_rejection


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("Ann Lee of Leeds", "Ann Lee of Leeds"),
        ("Ann  Lee\n of Leeds", "Ann  Lee\n of Leeds"),  # a line has single blanks
        ("Ann\u200bLee of Leeds", "Ann\u200bLee of Leeds"),  # and no invisible letters
        ('Ann "Lee" of Leeds', 'Ann \\"Lee\\" of Leeds'),
        ("Ann Lee of Leeds", "of leeds, ann lee"),
        ("Ann Lee of Leeds " * 30, "Ann Lee of Leeds " * 30),  # cut on the way
        ("Leeds" * 100, "Leeds" * 100),
    ],
)
def test_a_quoted_value_is_masked_in_every_form(log_rejection, value, quoted):
    """Event values in ODP's reason are masked, also if cut, escaped or re-spaced."""
    for event in (
        OdpEvent("sold", {"name": value}),
        OdpEvent("sold", IDENTIFIERS, data={"n": value}),
    ):
        line = log_rejection(event, f"invalid value '{quoted}' of a field").casefold()

        assert "fullstack/sold" in line
        assert "ann" not in line and "leeds" not in line
        assert "fullstack/sold: \"invalid value '" in line or "…" in line


def test_a_reason_without_event_values_is_unchanged(log_rejection):
    """Words of the reason that are not values of the event are not masked."""
    line = log_rejection(
        OdpEvent("sold", IDENTIFIERS), "identifier 'email' must be text"
    )

    assert "\"identifier 'email' must be text\"" in line


def test_an_action_stays_on_its_line(log_rejection):
    """A line break in type or action does not start a new line; long ones are cut."""
    event = OdpEvent("sold\nERROR: forged", IDENTIFIERS, "kind\r\x1b[2J" + "x" * 500)
    line = log_rejection(event, "no")

    assert line.isprintable()
    assert "/sold ERROR: forged:" in line
    assert len(line) < 300


def test_an_interrupted_callback_is_not_active():
    """After Ctrl-C at the start of a callback, events of this thread are accepted."""

    class InterruptedSet(set[int]):
        def add(self, ident: int) -> None:
            super().add(ident)
            raise KeyboardInterrupt

    reports = Reports(Diagnostics())
    reports._callback_threads = InterruptedSet()
    with pytest.raises(KeyboardInterrupt):
        reports.run_callback(print)

    assert not reports.is_in_callback()


def test_the_end_of_an_outage_is_reported_once(caplog):
    """The line is written where that of the outage was, with the events that waited."""
    reports = Reports(Diagnostics())
    event = OdpEvent("viewed", {"vuid": "v"})
    failed = Delivery.all_pending(1, Cause.TRANSIENT, "no answer")

    def deliver(delivery: Delivery, waiting: int) -> None:
        store = Buffer(
            lambda x, _=None: x,
            batch_size=9,
            batch_bytes=999,
            max_size=9,
            max_bytes=9999,
        )
        for _ in range(waiting):
            store.put(FakeCapture("viewed"))
        reports.report_batch(Batch([event]), delivery, store)

    deliver(Delivery(1), 0)
    deliver(failed, 7)
    deliver(failed, 8)
    deliver(Delivery(1, spooled=(0,)), 7)
    deliver(Delivery(1), 7)
    deliver(Delivery(1), 6)

    records = [each for each in caplog.records if "again" in each.getMessage()]
    assert [(each.levelno, each.getMessage()) for each in records] == [
        (
            logging.WARNING,
            "ODP answers again; 8 events were waiting and are sent now",
        )
    ]
