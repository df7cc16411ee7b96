"""What a line says of an event that ODP rejected: which one, and nothing out of it."""

from __future__ import annotations

import json
import logging

import pytest

from odp_logging import OdpEvent
from odp_logging._diagnostics import Diagnostics
from odp_logging._reports import Reports
from odp_logging.stores._base import Batch
from odp_logging.stores._buffer import Buffer
from odp_logging.transports._http import read_answer

WHO = {"fs_user_id": "u1"}


@pytest.fixture
def say(caplog):
    """Return the line about an event that was rejected with a message of ODP's."""
    caplog.set_level(logging.WARNING)
    store = Buffer(
        lambda x, _=None: x, batch_size=1, batch_bytes=1, max_size=1, max_bytes=1
    )

    def say(event: OdpEvent, message: str) -> str:
        invalids = [{"event": 0, "message": message}]
        answer = json.dumps({"detail": {"invalids": invalids}}).encode()
        delivery = read_answer(400, {}, answer, 1, "host")
        Reports(Diagnostics()).tell(Batch([event]), delivery, store)
        return caplog.records[-1].getMessage()

    return say


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
def test_a_quotation_is_masked_however_it_is_changed(say, value, quoted):
    """What ODP quotes of an event is not repeated, cut, escaped or spaced anew."""
    for event in (
        OdpEvent("sold", {"name": value}),
        OdpEvent("sold", WHO, data={"n": value}),
    ):
        said = say(event, f"invalid value '{quoted}' of a field").casefold()

        assert "fullstack/sold" in said
        assert "ann" not in said and "leeds" not in said
        assert "fullstack/sold: \"invalid value '" in said or "…" in said


def test_a_reason_that_quotes_nothing_is_whole(say):
    """Words that are not the event's are left as they are."""
    said = say(OdpEvent("sold", WHO), "identifier 'email' must be text")

    assert "\"identifier 'email' must be text\"" in said


def test_an_action_stays_on_its_line(say):
    """A line break in type or action makes no second line, and they are cut."""
    event = OdpEvent("sold\nERROR: forged", WHO, "kind\r\x1b[2J" + "x" * 500)
    said = say(event, "no")

    assert said.isprintable()
    assert "/sold ERROR: forged:" in said
    assert len(said) < 300


def test_an_interrupted_mark_does_not_stay():
    """Ctrl-C as a callback begins does not refuse all later events of this thread."""

    class Marks(set[int]):
        def add(self, mark: int) -> None:
            super().add(mark)
            raise KeyboardInterrupt

    reports = Reports(Diagnostics())
    reports._busy = Marks()
    with pytest.raises(KeyboardInterrupt), reports.foreign_code():
        pass

    assert not reports.is_mine()
