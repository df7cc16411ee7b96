"""The commands that look after a spool."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from odp_logging import OdpClient, OdpEvent
from odp_logging._cli.main import main
from odp_logging._stores.spool import directory as _directory
from odp_logging._stores.spool.directory import list_files
from odp_logging._stores.spool.file import SpoolFile
from odp_logging._stores.spool.file_lock import claim_file
from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..stores.contract import DEEP
from ..stores.spool.spools import leave_orphaned_events

EMAIL = "ada@example.com"


@pytest.fixture
def spool_with_dead_letters(home: Path, emulator: Emulator) -> Path:
    """Return a spool with two dead letters and one delivered event."""
    emulator.fault(events=[0, 1], count=1, status=400)
    with OdpClient(KEY, api_host=emulator.url, spool=home) as client:
        for number in range(3):
            client.send_odp_event(
                "sold", {"email": EMAIL}, data={"n": number, "note": f"for {EMAIL}"}
            )
    emulator.clear_faults()
    until_free(home)
    return home


def until_free(home: Path) -> None:
    """Wait until no process owns the files of *home*."""
    pause = threading.Event()
    for _ in range(500):
        claims = [claim_file(path) for path in list_files(home)]
        for ownership in claims:
            if ownership is not None:
                ownership.release()
        if None not in claims:
            return
        pause.wait(0.01)
    raise AssertionError("a process still owns a file of the spool")


def leave_events(home: Path, emulator: Emulator, count: int, key: str = KEY) -> None:
    """Leave *count* events in the spool, as an ended process does."""
    config = OdpClient(key, api_host=emulator.url, enabled=False)._config
    destination = config.destination()
    assert destination is not None
    leave_orphaned_events(home, count, account=destination.fingerprint)


def list_ids(home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the ids of all dead letters."""
    assert main(["dead", "list", "--spool", str(home), "--json"]) == 0
    return [each["id"] for each in json.loads(capsys.readouterr().out)]


def test_status(home, emulator, capsys):
    """It counts per file and in total, and shows which files are in use."""
    leave_events(home, emulator, 5)
    with OdpClient(KEY, api_host="http://127.0.0.1:9", spool=home, durability="crash"):
        main(["spool", "status", "--spool", str(home)])

    lines = capsys.readouterr().out.splitlines()
    assert "5 events, 0 dead letters" in lines[0]
    assert lines[0].endswith("waiting, oldest event 1970-01-01T00:00:01Z")
    assert lines[-1] == f"{home}: 5 events, 0 dead letters in 1 file"


def test_status_as_json(home, emulator, capsys, monkeypatch):
    """--json is one object; the directory may come from ODP_SPOOL."""
    leave_events(home, emulator, 5)
    monkeypatch.setenv("ODP_SPOOL", str(home))

    assert main(["spool", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["events"] for each in found["files"]] == [5]


def test_dead_letters_are_listed_without_their_identifiers(
    spool_with_dead_letters, capsys
):
    """Each is a line with id, action and reason; identifiers are masked."""
    assert main(["dead", "list", "--spool", str(spool_with_dead_letters)]) == 0

    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "fullstack/sold  email=***" in out
    assert EMAIL not in out


def test_dead_letters_are_shown_with_their_identifiers_on_request(
    spool_with_dead_letters, capsys
):
    """--show-identifiers prints the event unmasked; otherwise no text quotes them."""
    name = list_ids(spool_with_dead_letters, capsys)[0]
    main(["dead", "show", name, "--spool", str(spool_with_dead_letters)])
    masked = capsys.readouterr().out
    main(
        [
            "dead",
            "show",
            name,
            "--spool",
            str(spool_with_dead_letters),
            "--show-identifiers",
            "--json",
        ]
    )
    letter = json.loads(capsys.readouterr().out)

    assert EMAIL not in masked
    assert '"note": "for ***"' in masked
    assert letter["event"]["identifiers"] == {"email": EMAIL}
    assert letter["reason"]


def test_a_retried_dead_letter_is_sent_by_the_next_process(
    spool_with_dead_letters, emulator, capsys
):
    """It is sent unchanged, with its idempotence id, and is no dead letter any more."""
    first, second = list_ids(spool_with_dead_letters, capsys)
    assert main(["dead", "retry", first, "--spool", str(spool_with_dead_letters)]) == 0
    assert capsys.readouterr().out == "1 dead letter retried\n"

    with OdpClient(KEY, api_host=emulator.url, spool=spool_with_dead_letters):
        assert emulator.wait_for(unique=2, timeout=10)
    assert list_ids(spool_with_dead_letters, capsys) == [second]
    assert emulator.stats()["duplicates"] == 0


def test_dropped_dead_letters_are_gone(spool_with_dead_letters, capsys):
    """--all drops all, and removes the file that became empty."""
    assert (
        main(
            ["dead", "drop", "--all", "--spool", str(spool_with_dead_letters), "--json"]
        )
        == 0
    )

    assert json.loads(capsys.readouterr().out) == {"dropped": 2}
    assert list(spool_with_dead_letters.iterdir()) == []


def test_dropping_all_removes_every_empty_file(home, capsys):
    """Files of several processes and accounts are removed with their last letter."""
    _directory.prepare(home)
    for account in ("account", "another"):
        file = SpoolFile(_directory.create_file(home, account))
        file.add([OdpEvent("sold", {"email": EMAIL}).json] * 2, 1)
        file.settle([], dict.fromkeys(file.read(2), "reason"))
        file.close_database()
        file.file_lock.release()
    assert main(["dead", "drop", "--all", "--spool", str(home)]) == 0

    assert capsys.readouterr().out == "4 dead letters dropped\n"
    assert list_files(home) == []


def test_dead_letters_of_a_living_process_are_accessible(home, emulator, capsys):
    """They are listed and dropped while the file's owner continues."""
    emulator.fault(events=[0], count=1, status=400)
    with OdpClient(
        KEY, api_host=emulator.url, spool=home, durability="crash"
    ) as client:
        for number in range(2):
            client.send_odp_event("sold", {"email": EMAIL}, data={"n": number})
        assert client.flush(10)
        assert len(list_ids(home, capsys)) == 1
        assert main(["dead", "drop", "--all", "--spool", str(home)]) == 0
        assert capsys.readouterr().out == "1 dead letter dropped\n"
        client.send_odp_event("sold", {"email": EMAIL}, data={"n": 2})
        assert client.flush(10)

    assert list_ids(home, capsys) == []
    assert emulator.stats()["unique"] == 2


def test_replay_sends_unsent_events(home, emulator, capsys, monkeypatch):
    """All files of the key are sent; those of others stay, are counted and fail it."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    leave_events(home, emulator, 25)
    leave_events(home, emulator, 5)
    leave_events(home, emulator, 3, key="another-key")

    assert main(["replay", "--spool", str(home)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "30 of 30 events sent, 0 left; 3 of another key or host\n"
    assert "Run replay with their key and host" in shown.err
    assert emulator.stats()["received"] == 30
    assert main(["replay", "--spool", str(home), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "found": 0,
        "sent": 0,
        "left": 0,
        "other": 1,
        "in_use": 0,
        "other_events": 3,
        "in_use_events": 0,
        "dead_letters": 0,
        "unreadable": 0,
        "dropped": 0,
        "error": "",
        "moved": 0,
    }


def test_replay_succeeds_if_nothing_is_left(home, emulator, capsys, monkeypatch):
    """Without other keys and dead letters the status is 0, and there is no advice."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    leave_events(home, emulator, 25)

    assert main(["replay", "--spool", str(home)]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("25 of 25 events sent, 0 left\n", "")


def test_replay_counts_dead_letters(
    spool_with_dead_letters, emulator, capsys, monkeypatch
):
    """Dead letters are left, also new ones, so the exit status is 1."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    leave_events(spool_with_dead_letters, emulator, 2)
    emulator.fault(events=[0], count=1, status=400)

    assert main(["replay", "--spool", str(spool_with_dead_letters)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "1 of 2 events sent, 0 left; 3 dead letters\n"
    assert "3 dead letters kept in the spool" in shown.err


@pytest.mark.parametrize("status", [403, 503])
def test_replay_gives_the_reason(home, emulator, capsys, monkeypatch, status):
    """ODP's answer is told; with a key that ODP refuses, replay ends at once."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    monkeypatch.setenv("ODP_SHUTDOWN_TIMEOUT", "0.1")
    emulator.fault(status=status)
    leave_events(home, emulator, 5)
    seconds = "60" if status == 403 else "1"
    words = ["replay", "--spool", str(home), "--timeout", seconds]
    start = time.monotonic()

    assert main([*words, "--json"]) == 1
    assert time.monotonic() - start < 30
    shown = capsys.readouterr()
    assert f"answered {status}" in json.loads(shown.out)["error"]
    assert f"5 events not sent: {emulator.url} answered {status}" in shown.err
    assert KEY not in shown.err


def test_replay_counts_files_that_it_cannot_read(home, emulator, capsys, monkeypatch):
    """A file of another version is left, so the exit status is 1."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    leave_events(home, emulator, 1, key="another-key")
    (path,) = list_files(home)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("PRAGMA user_version = 9")

    assert main(["replay", "--spool", str(home)]) == 1
    assert "; 1 unreadable file\n" in capsys.readouterr().out


def test_replay_with_a_switch_that_is_off(home, emulator, capsys, monkeypatch):
    """With ODP_ENABLED off nothing would be sent, which is told at once."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_ENABLED", "false")
    leave_events(home, emulator, 1)

    assert main(["replay", "--spool", str(home)]) == 2
    assert "ODP_ENABLED is off" in capsys.readouterr().err


def test_an_event_that_is_nested_too_deeply_stops_no_command(
    home, emulator, capsys, monkeypatch
):
    """It becomes a dead letter; the others are sent; status and list show it."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    leave_events(home, emulator, 5)
    (path,) = list_files(home)
    with closing(sqlite3.connect(path)) as other, other:
        row = (0, DEEP, zlib.crc32(DEEP))
        other.execute("INSERT INTO events VALUES (?, ?, ?)", row)
    assert main(["spool", "status", "--spool", str(home)]) == 0
    assert main(["replay", "--spool", str(home)]) == 1
    assert main(["dead", "list", "--spool", str(home)]) == 0
    assert main(["spool", "status", "--spool", str(home)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path.name}: 6 events, 0 dead letters")
    assert lines[2] == "5 of 6 events sent, 0 left; 1 dead letter"
    assert lines[3].endswith("?/?    no event")
    assert lines[4].startswith(f"{path.name}: 0 events, 1 dead letter")
    assert emulator.stats()["unique"] == 5


def test_replay_leaves_living_processes_alone(home, emulator, capsys, monkeypatch):
    """Files in use are counted separately, and not waited for."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    emulator.fault(status=503)
    with OdpClient(
        KEY, api_host=emulator.url, spool=home, durability="crash", shutdown_timeout=0.1
    ) as client:
        client.send_odp_event("sold", {"email": EMAIL})
        assert main(["replay", "--spool", str(home)]) == 0
        emulator.clear_faults()
        assert client.flush(10)

    assert capsys.readouterr().out == (
        "0 of 0 events sent, 0 left; 1 in use by running processes\n"
    )


@pytest.mark.parametrize("value", ["1", "a", "ADA@example.com"])
def test_short_and_uppercase_identifiers_are_masked_too(home, emulator, capsys, value):
    """An identifier of any form is masked, also where other text repeats it."""
    emulator.fault(events=[0], count=1, status=400)
    with OdpClient(KEY, api_host=emulator.url, spool=home) as client:
        data = {"note": f"for {value.lower()}!", "n": 1}
        client.send_odp_event("sold", {"fs_user_id": value}, data=data)
    main(["dead", "list", "--spool", str(home), "--json"])

    (letter,) = json.loads(capsys.readouterr().out)
    assert letter["event"]["identifiers"] == {"fs_user_id": "***"}
    assert letter["event"]["action"] == "sold"
    assert value.lower() not in letter["event"]["data"]["note"].replace("for", "")


def test_replay_ends_in_time(home, emulator, capsys, monkeypatch):
    """With ODP down it stops after --timeout, and prints how many events are left."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    monkeypatch.setenv("ODP_SHUTDOWN_TIMEOUT", "0.1")
    emulator.fault(status=503)
    leave_events(home, emulator, 5)

    assert main(["replay", "--spool", str(home), "--timeout", "1"]) == 1
    assert capsys.readouterr().out == "0 of 5 events sent, 5 left\n"


def test_replay_shows_a_bar_on_a_terminal(home, emulator):
    """On a terminal there is a progress bar; in a pipe there are plain lines."""
    emulator.fault(latency=0.5)
    leave_events(home, emulator, 5)
    environment = {**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    environment.pop("CI", None)  # with it, a terminal gets plain lines as well
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "odp_logging", "replay", "--spool", str(home)]
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=terminal, timeout=60
    )
    os.close(terminal)
    shown = os.read(reader, 100_000).decode()
    os.close(reader)

    assert ended.stdout == b"5 of 5 events sent, 0 left\n"
    assert "replay" in shown
    assert "%" in shown


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (["spool", "status"], "which spool?"),
        (["spool", "status", "--spool", "/nowhere/at/all"], "there is no spool at"),
        (["dead", "show", "x-1", "--spool", "."], "there is no dead letter x-1"),
        (["replay", "--spool", "."], "ODP_API_KEY is not set"),
    ],
)
def test_an_error_is_one_line(command, answer, capsys, tmp_path, monkeypatch):
    """A command that cannot be carried out prints the cause, and exits with 2."""
    monkeypatch.chdir(tmp_path)

    assert main(command) == 2
    err = capsys.readouterr().err
    assert err.startswith("odp-logging: ")
    assert answer in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_dead_letters_must_be_named(command, capsys):
    """Without ids or --all nothing is dropped or retried."""
    with pytest.raises(SystemExit) as ended:
        main(["dead", command, "--spool", "."])

    assert ended.value.code == 2
    assert "--all" in capsys.readouterr().err


def test_logged_text_does_not_control_a_terminal(home, capsys):
    """Names, actions, reasons, times and file names are printed as one plain line."""
    _directory.prepare(home)
    event = OdpEvent(
        "buy\x1b]0;title\x07\x1b[2J\nforged  order/ok", {"na\x1b[31mme": "v\u202ev"}
    )
    file = SpoolFile(_directory.create_file(home, "abc1234567"))
    file.add([OdpEvent("a", {"f": "u"}, data={"ts": "\x1b[2J\nforged"}).json], 1)
    file.add_dead_letters({5: (event.json, "why\x1b[31m\nforged")})
    file.close()
    (path,) = list_files(home)
    (home / f"abc1234567-1-{chr(27)}[2Jx.spool").write_bytes(b"no database")
    named = f"{path.stem.rpartition('-')[2]}-5"

    for words in (["spool", "status"], ["dead", "list"], ["dead", "show", named]):
        assert main([*words, "--spool", str(home)]) == 0
        shown = capsys.readouterr()
        lines = (shown.out + shown.err).split("\n")
        assert all(line.isprintable() for line in lines)
        assert not [line for line in lines if line.startswith("forged")]
