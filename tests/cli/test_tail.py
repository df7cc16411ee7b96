"""The command ``tail``: events that arrive in a spool and leave it, line by line."""

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
from odp_logging._cli.main import main
from odp_logging._cli.tail import SpoolPoller
from odp_logging._stores.spool import directory as _directory
from odp_logging._stores.spool.file import SpoolFile
from odp_logging._stores.spool.reader import SpoolSnapshot

from ..conftest import KEY

EMAIL = "ada@example.com"


def body(number: int) -> bytes:
    """Return the JSON of the event with this number."""
    note = f"for {EMAIL}, nr {number}"
    return OdpEvent("sold", {"email": EMAIL}, "order", {"note": note}).json


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The directory of an empty spool."""
    directory = tmp_path / "spool"
    _directory.prepare(directory)
    return directory


@pytest.fixture
def file(home: Path) -> Iterator[SpoolFile]:
    """A spool file of a living process."""
    spool_file = SpoolFile(_directory.create_file(home, "account"))
    yield spool_file
    spool_file.close()


Changes = list[dict[str, Any]]


@pytest.fixture
def start(home: Path) -> Callable[..., SpoolPoller]:
    """Start followers of the spool."""

    def start(*, show: bool = False) -> SpoolPoller:
        poller = SpoolPoller(home, show=show)
        poller.start()
        return poller

    return start


def poll(poller: SpoolPoller) -> list[str]:
    """Return the names of the changes since the last poll."""
    return [change["what"] for change in poller.poll()]


def test_each_change_is_reported_once(file, start):
    """Events that arrive, are rejected and leave are reported by the next poll."""
    poller = start()
    file.add([body(1), body(2), body(3)], 1)
    assert poll(poller) == ["arrived"] * 3

    rows = file.read(3)
    file.settle([rows[0]], {rows[1]: f"{EMAIL} is no good"})
    changes = list(poller.poll())
    assert changes[0]["reason"] == "*** is *** good" or EMAIL not in str(changes)
    assert [change["what"] for change in changes] == ["rejected", "delivered"]

    assert poll(poller) == []
    assert [change["what"] for change in poller.list_remaining()] == ["left"]


def test_identifiers_are_masked_unless_requested(file, start):
    """Identifiers, also those in a reason, are shown with --show-identifiers only."""
    masking, showing = start(), start(show=True)
    file.add([body(1)], 1)
    row = file.read(1)[0]
    masked, shown = list(masking.poll()), list(showing.poll())
    file.settle([], {row: f"not {EMAIL}"})
    masked += masking.poll()
    shown += showing.poll()

    assert EMAIL not in str(masked)
    assert masked[0]["event"]["identifiers"] == {"email": "***"}
    assert shown[0]["event"]["identifiers"] == {"email": EMAIL}
    assert shown[1]["reason"] == f"not {EMAIL}"


def test_events_from_before_are_reported_when_they_leave(file, home):
    """Events that waited at the start are counted, and reported when they leave."""
    file.add([body(1)], 1)
    poller = SpoolPoller(home, show=False)
    assert poller.start() == 1
    assert poll(poller) == []

    file.settle(file.read(1), {})
    assert poll(poller) == ["delivered"]


def test_events_that_come_and_go_between_two_polls_are_counted(file, start):
    """Gaps in the numbers are events that no poll saw."""
    file.add([body(1)], 1)
    poller = start()
    file.add([body(2), body(3), body(4)], 2)
    file.settle(file.read(3), {})

    assert {change["what"]: change.get("count") for change in poller.poll()} == {
        "arrived": None,
        "delivered": None,
        "unseen": 2,
    }


def test_files_appear_and_vanish(home, start):
    """A new file is followed; the events of a file that is removed are delivered."""
    poller = start()
    later = SpoolFile(_directory.create_file(home, "account"))
    later.add([body(1)], 1)
    assert poll(poller) == ["arrived"]

    later.settle(later.read(1), {})
    later.close()
    assert list(home.iterdir()) == []
    assert poll(poller) == ["delivered"]
    assert list(home.iterdir()) == []


def test_damaged_files_and_events_do_not_stop_it(home, file, start):
    """A damaged file is skipped, and a damaged event is reported without content."""
    (home / "account-1-aa.spool").write_bytes(b"nothing")
    poller = start()
    file.add([b"no JSON"], 1)
    file.settle([], {file.read(1)[0]: "reason"})
    file.add([b"no JSON"], 2)
    changes = list(poller.poll())

    assert [(change["what"], change["event"]) for change in changes] == [
        ("arrived", None),
        ("rejected", None),
    ]
    assert changes[1]["reason"] == "***"


def test_a_snapshot_creates_no_file_and_blocks_no_writer(home, file):
    """The owner writes while a snapshot is open, which still reads the old state."""
    file.add([body(1)], 1)
    before = sorted(home.iterdir())
    with SpoolSnapshot(file.file_lock.path) as snapshot:
        file.add([body(2)], 2)
        file.settle(file.read(2), {})
        assert snapshot.read_row_ids() == {1}
        assert snapshot.read_totals()[:2] == (1, 0)
    assert sorted(home.iterdir()) == before

    third = body(3)
    file.add([third], 3)
    path = file.file_lock.path
    file.close_database()
    before = sorted(home.iterdir())
    with SpoolSnapshot(path) as snapshot:
        assert snapshot.read_row_ids() == {3}
        assert snapshot.read_event(3) == third
        assert (snapshot.read_event(4), snapshot.read_dead_letter(4)) == (None, None)
    assert sorted(home.iterdir()) == before


@pytest.mark.parametrize("end", ["lines", "seconds"])
def test_the_command_follows_a_process(emulator, home, capsys, end):
    """It reports the events of a client, and ends after --lines or --seconds."""
    # Longer than the test takes: the events are seen before they leave.
    client = OdpClient(
        KEY, api_host=emulator.url, spool=home, durability="crash", flush_interval=60.0
    )
    more = ["--lines", "4"] if end == "lines" else ["--seconds", "2"]
    sender = threading.Timer(0.3, lambda: send(client))
    sender.start()
    status = main(["tail", "--spool", str(home), "--json", *more])
    sender.join()
    shown = capsys.readouterr()
    client.close(5)

    assert status == 0
    assert shown.err == f"0 events waiting in {home}\n"
    changes = [json.loads(line) for line in shown.out.splitlines()]
    assert [change["what"] for change in changes] == ["arrived"] * 2 + ["delivered"] * 2
    assert EMAIL not in shown.out


def send(client: OdpClient) -> None:
    """Log two events, and deliver them half a second later."""
    client.send_odp_event("sold", {"email": EMAIL})
    client.send_odp_event("sold", {"email": EMAIL})
    threading.Event().wait(0.5)
    client.flush(5)


def test_an_event_that_odp_takes_at_once_is_not_seen(emulator, home, start, capsys):
    """Without durability="crash" it never enters the spool, and the help says so."""
    poller = start()
    with OdpClient(KEY, api_host=emulator.url, spool=home) as client:
        client.send_odp_event("sold", identifiers={"fs_user_id": "u1"})
        assert client.flush(10)
        assert list(poller.poll()) == []
    assert len(emulator.events()) == 1

    with pytest.raises(SystemExit):
        main(["tail", "--help"])
    assert (
        "An event that ODP takes at once never enters the spool; tail shows it only"
        ' with durability="crash".' in " ".join(capsys.readouterr().out.split())
    )


def test_ctrl_c_reports_what_is_left(home, file):
    """Ctrl-C ends it with status 0, after a line for each event that is left."""
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


def test_a_missing_spool_is_waited_for(tmp_path, capsys):
    """A directory that does not exist yet is reported, and is no error."""
    assert main(["tail", "--spool", str(tmp_path / "no"), "--seconds", "1"]) == 0
    assert "there is no spool at" in capsys.readouterr().err


def test_each_event_is_one_printable_line(home, file, capsys):
    """A line break in an event starts no new line; unseen events are counted."""
    file.add([OdpEvent("so\nld", {"email": EMAIL}).json], 1)
    file.add([body(2)], 9)
    writer = threading.Timer(0.3, lambda: file.add([body(3)], 12))
    writer.start()
    status = main(["tail", "--spool", str(home), "--lines", "2", "--seconds", "9"])
    writer.join()
    lines = capsys.readouterr().out.splitlines()

    assert status == 0
    assert "arrived" in lines[0]
    assert lines[1].endswith("unseen     2 events came and went in between")
