"""The command ``tail``: what comes to a spool and goes, line by line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging import OdpClient, OdpEvent
from odp_logging._cli import main
from odp_logging._tail import Follower
from odp_logging.stores import _directory
from odp_logging.stores._spoolfile import SpoolFile
from odp_logging.stores._visit import Glance

from .conftest import KEY

EMAIL = "ada@example.com"


def body(number: int) -> bytes:
    """Return the event of one number, as JSON."""
    note = f"for {EMAIL}, nr {number}"
    return OdpEvent("sold", {"email": EMAIL}, "order", {"note": note}).json


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A spool's directory, empty."""
    made = tmp_path / "spool"
    _directory.prepare(made)
    return made


@pytest.fixture
def file(home: Path) -> Iterator[SpoolFile]:
    """A spool file of a living process."""
    made = SpoolFile(_directory.create(home, "account"))
    yield made
    made.close()


Told = list[dict[str, Any]]


@pytest.fixture
def follow(home: Path) -> Callable[..., tuple[Follower, Told]]:
    """Make followers of the spool, each with what it tells."""

    def make(*, show: bool = False) -> tuple[Follower, Told]:
        told: Told = []
        follower = Follower(home, told.append, show=show)
        follower.begin()
        return follower, told

    return make


def what(told: Told) -> list[str]:
    """Return what is told to have happened, and forget it."""
    words = [each["what"] for each in told]
    told.clear()
    return words


def test_events_arrive_leave_and_are_rejected(file, follow):
    """Each change of the file between two looks is told once."""
    follower, told = follow()
    file.add([body(1), body(2), body(3)], 1)
    follower.look()
    assert what(told) == ["arrived"] * 3

    rows = file.read(3)
    file.settle([rows[0]], {rows[1]: f"{EMAIL} is no good"})
    follower.look()
    assert told[0]["reason"] == "*** is *** good" or EMAIL not in str(told)
    assert what(told) == ["rejected", "delivered"]

    follower.look()
    assert told == []
    follower.end()
    assert what(told) == ["left"]


def test_identifiers_are_masked_unless_asked_for(file, follow):
    """Neither identifiers nor what repeats them is shown without --show-identifiers."""
    masked, hidden = follow()
    open_, shown = follow(show=True)
    file.add([body(1)], 1)
    row = file.read(1)[0]
    for each in (masked, open_):
        each.look()
    file.settle([], {row: f"not {EMAIL}"})
    for each in (masked, open_):
        each.look()

    assert EMAIL not in str(hidden)
    assert hidden[0]["event"]["identifiers"] == {"email": "***"}
    assert shown[0]["event"]["identifiers"] == {"email": EMAIL}
    assert shown[1]["reason"] == f"not {EMAIL}"


def test_what_was_there_is_followed_without_a_line(file, follow):
    """Events that waited already are only told of when they leave."""
    file.add([body(1)], 1)
    follower, told = follow()
    assert told == []

    file.settle(file.read(1), {})
    follower.look()
    assert what(told) == ["delivered"]


def test_what_comes_and_goes_between_two_looks_is_counted(file, follow):
    """Gaps in the numbers are events that nobody saw."""
    file.add([body(1)], 1)
    follower, told = follow()
    file.add([body(2), body(3), body(4)], 2)
    file.settle(file.read(3), {})
    follower.look()

    assert {each["what"]: each.get("count") for each in told} == {
        "arrived": None,
        "delivered": None,
        "unseen": 2,
    }


def test_files_appear_and_vanish(home, follow):
    """A file that comes later is followed, and one that is gone has delivered."""
    follower, told = follow()
    later = SpoolFile(_directory.create(home, "account"))
    later.add([body(1)], 1)
    follower.look()
    assert what(told) == ["arrived"]

    later.settle(later.read(1), {})
    later.close()
    assert list(home.iterdir()) == []
    follower.look()
    assert what(told) == ["delivered"]
    assert list(home.iterdir()) == []


def test_a_file_that_is_none_is_passed_over(home, file, follow):
    """Damaged and foreign files, and damaged events, do not stop it."""
    (home / "account-1-aa.spool").write_bytes(b"nothing")
    follower, told = follow()
    file.add([b"no JSON"], 1)
    file.settle([], {file.read(1)[0]: "reason"})
    file.add([b"no JSON"], 2)
    follower.look()

    assert [(each["what"], each["event"]) for each in told] == [
        ("arrived", None),
        ("rejected", None),
    ]
    assert told[1]["reason"] == "***"


def test_looking_makes_no_file_and_holds_up_no_writer(home, file):
    """A look neither leaves anything behind nor keeps the writer from its work."""
    file.add([body(1)], 1)
    before = sorted(home.iterdir())
    with Glance(file.claim.path) as glance:
        file.add([body(2)], 2)
        file.settle(file.read(2), {})
        assert glance.numbers() == {1}
        assert glance.totals()[:2] == (1, 0)
    assert sorted(home.iterdir()) == before

    third = body(3)
    file.add([third], 3)
    path = file.claim.path
    file.shut()
    before = sorted(home.iterdir())
    with Glance(path) as glance:
        assert glance.numbers() == {3}
        assert glance.event(3) == third
        assert (glance.event(4), glance.letter(4)) == (None, None)
    assert sorted(home.iterdir()) == before


@pytest.mark.parametrize("end", ["lines", "seconds"])
def test_the_command_follows_a_process(emulator, home, capsys, end):
    """tail sees the events of a client come and go, and ends by itself."""
    # Longer than any of it takes: so the events are seen before they leave.
    client = OdpClient(
        KEY, api_host=emulator.url, spool=home, durability="crash", flush_interval=60.0
    )
    more = ["--lines", "4"] if end == "lines" else ["--seconds", "2"]
    started = threading.Timer(0.3, lambda: send(client))
    started.start()
    status = main(["tail", "--spool", str(home), "--json", *more])
    started.join()
    shown = capsys.readouterr()
    client.close(5)

    assert status == 0
    assert shown.err == f"0 events waiting in {home}\n"
    told = [json.loads(line) for line in shown.out.splitlines()]
    assert [each["what"] for each in told] == ["arrived", "arrived", "delivered"] + [
        "delivered"
    ] * (len(told) - 3)
    assert len(told) == 4
    assert EMAIL not in shown.out


def send(client: OdpClient) -> None:
    """Log two events, and deliver them somewhat later."""
    client.send_odp_event("sold", {"email": EMAIL})
    client.send_odp_event("sold", {"email": EMAIL})
    threading.Event().wait(0.5)
    client.flush(5)


def test_ctrl_c_tells_what_is_left(home, file):
    """Ctrl-C ends it with 0, after a line for each event that is left."""
    file.add([body(1)], 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "odp_logging", "tail", "--spool", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == f"1 event waiting in {home}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert (process.returncode, err) == (0, "")
    assert "left" in out and "order/sold  email=***" in out
    assert out.count("\n") == 1


def test_a_spool_to_come_is_waited_for(tmp_path, capsys):
    """A directory that is not there yet is said, and no error."""
    assert main(["tail", "--spool", str(tmp_path / "no"), "--seconds", "1"]) == 0
    assert "there is no spool at" in capsys.readouterr().err


def test_lines_for_people_show_nothing_odd(home, file, capsys):
    """Each line is one line, whatever an event holds; unseen events are counted."""
    file.add([OdpEvent("so\nld", {"email": EMAIL}).json], 1)
    file.add([body(2)], 9)
    writing = threading.Timer(0.3, lambda: file.add([body(3)], 12))
    writing.start()
    status = main(["tail", "--spool", str(home), "--lines", "2", "--seconds", "9"])
    writing.join()
    lines = capsys.readouterr().out.splitlines()

    assert status == 0
    assert "arrived" in lines[0]
    assert lines[1].endswith("unseen     2 events came and went in between")
