"""The commands that look after a spool."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from odp_logging import OdpClient
from odp_logging._cli import main
from odp_logging.emulator import Emulator
from odp_logging.stores._directory import claim_file, spools

from .conftest import KEY
from .stores.test_spool import left_behind

EMAIL = "ada@example.com"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A spool's directory that is not there yet."""
    return tmp_path / "spool"


@pytest.fixture
def buried(home: Path, emulator: Emulator) -> Path:
    """A spool with two dead letters and one event that was delivered."""
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
    """Wait until nobody has the files of *home* open."""
    pause = threading.Event()
    for _ in range(500):
        claims = [claim_file(path) for path in spools(home)]
        for claim in claims:
            if claim is not None:
                claim.release()
        if None not in claims:
            return
        pause.wait(0.01)
    raise AssertionError("somebody has a file of the spool open")


def waiting(home: Path, emulator: Emulator, count: int, key: str = KEY) -> None:
    """Leave *count* events in the spool, as a process that is gone does."""
    config = OdpClient(key, api_host=emulator.url, enabled=False).config
    destination = config.destination()
    assert destination is not None
    left_behind(home, count, account=destination.account)


def ids(home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the ids of all dead letters."""
    assert main(["dead", "list", "--spool", str(home), "--json"]) == 0
    return [each["id"] for each in json.loads(capsys.readouterr().out)]


def test_status(home, emulator, capsys):
    """It counts, file by file and in all, and says which files are in use."""
    waiting(home, emulator, 5)
    with OdpClient(KEY, api_host="http://127.0.0.1:9", spool=home, durability="crash"):
        main(["spool", "status", "--spool", str(home)])

    lines = capsys.readouterr().out.splitlines()
    assert "5 events, 0 dead letters" in lines[0]
    assert lines[0].endswith("waiting, oldest event 1970-01-01T00:00:01Z")
    assert lines[-1] == f"{home}: 5 events, 0 dead letters in 1 files"


def test_status_for_machines(home, emulator, capsys, monkeypatch):
    """--json is one object; the directory may come from ODP_SPOOL."""
    waiting(home, emulator, 5)
    monkeypatch.setenv("ODP_SPOOL", str(home))

    assert main(["spool", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["events"] for each in found["files"]] == [5]


def test_dead_letters_are_listed_without_their_identifiers(buried, capsys):
    """Each is a line with id, action and reason; whom it is about is masked."""
    assert main(["dead", "list", "--spool", str(buried)]) == 0

    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "fullstack/sold  email=***" in out
    assert EMAIL not in out


def test_dead_letters_are_shown_with_their_identifiers_on_request(buried, capsys):
    """--show-identifiers shows the event as it is; without it nothing quotes them."""
    name = ids(buried, capsys)[0]
    main(["dead", "show", name, "--spool", str(buried)])
    masked = capsys.readouterr().out
    main(["dead", "show", name, "--spool", str(buried), "--show-identifiers", "--json"])
    whole = json.loads(capsys.readouterr().out)

    assert EMAIL not in masked
    assert '"note": "for ***"' in masked
    assert whole["event"]["identifiers"] == {"email": EMAIL}
    assert whole["reason"]


def test_a_retried_dead_letter_is_sent_by_the_next_process(buried, emulator, capsys):
    """It goes out as it was, with its idempotence id, and is dead no longer."""
    first, second = ids(buried, capsys)
    assert main(["dead", "retry", first, "--spool", str(buried)]) == 0
    assert capsys.readouterr().out == "1 dead letter retried\n"

    with OdpClient(KEY, api_host=emulator.url, spool=buried):
        assert emulator.wait_for(unique=2, timeout=10)
    assert ids(buried, capsys) == [second]
    assert emulator.stats()["duplicates"] == 0


def test_dropped_dead_letters_are_gone(buried, capsys):
    """--all drops all, and the file that held nothing else goes with them."""
    assert main(["dead", "drop", "--all", "--spool", str(buried), "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"dropped": 2}
    assert list(buried.iterdir()) == []


def test_dead_letters_of_a_living_process_are_in_reach(home, emulator, capsys):
    """They are listed and dropped while the process that has the file goes on."""
    emulator.fault(events=[0], count=1, status=400)
    with OdpClient(
        KEY, api_host=emulator.url, spool=home, durability="crash"
    ) as client:
        for number in range(2):
            client.send_odp_event("sold", {"email": EMAIL}, data={"n": number})
        assert client.flush(10)
        assert len(ids(home, capsys)) == 1
        assert main(["dead", "drop", "--all", "--spool", str(home)]) == 0
        assert capsys.readouterr().out == "1 dead letter dropped\n"
        client.send_odp_event("sold", {"email": EMAIL}, data={"n": 2})
        assert client.flush(10)

    assert ids(home, capsys) == []
    assert emulator.stats()["unique"] == 2


def test_replay_sends_what_waits(home, emulator, capsys, monkeypatch):
    """All files of the key are sent, those of others stay; the count is printed."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    waiting(home, emulator, 25)
    waiting(home, emulator, 5)
    waiting(home, emulator, 3, key="another-key")

    assert main(["replay", "--spool", str(home)]) == 0
    assert capsys.readouterr().out == (
        "30 of 30 events sent, 0 left; 1 files of other keys\n"
    )
    assert emulator.stats()["received"] == 30
    assert main(["replay", "--spool", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "found": 0,
        "sent": 0,
        "left": 0,
        "other": 1,
        "in_use": 0,
    }


def test_replay_leaves_living_processes_alone(home, emulator, capsys, monkeypatch):
    """What somebody is at work with is counted apart, and not waited for."""
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

    assert capsys.readouterr().out == "0 of 0 events sent, 0 left; 1 files in use\n"


@pytest.mark.parametrize("who", ["1", "a", "ADA@example.com"])
def test_short_and_shouted_identifiers_are_masked_too(home, emulator, capsys, who):
    """Whatever an identifier looks like, the list is whole and does not quote it."""
    emulator.fault(events=[0], count=1, status=400)
    with OdpClient(KEY, api_host=emulator.url, spool=home) as client:
        data = {"note": f"for {who.lower()}!", "n": 1}
        client.send_odp_event("sold", {"fs_user_id": who}, data=data)
    main(["dead", "list", "--spool", str(home), "--json"])

    (told,) = json.loads(capsys.readouterr().out)
    assert told["event"]["identifiers"] == {"fs_user_id": "***"}
    assert told["event"]["action"] == "sold"
    assert who.lower() not in told["event"]["data"]["note"].replace("for", "")


def test_replay_ends_in_time(home, emulator, capsys, monkeypatch):
    """With ODP down it stops when it was told to, and says what is left."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    monkeypatch.setenv("ODP_SHUTDOWN_TIMEOUT", "0.1")
    emulator.fault(status=503)
    waiting(home, emulator, 5)

    assert main(["replay", "--spool", str(home), "--timeout", "1"]) == 1
    assert capsys.readouterr().out == "0 of 5 events sent, 5 left\n"


def test_replay_shows_a_bar_on_a_terminal(home, emulator):
    """On a terminal there is a progress bar; in a pipe there are plain lines."""
    emulator.fault(latency=0.5)
    waiting(home, emulator, 5)
    environment = {**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "odp_logging", "replay", "--spool", str(home)]
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=theirs, timeout=60
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)

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
def test_what_is_wrong_is_one_line(command, answer, capsys, tmp_path, monkeypatch):
    """A command that cannot be carried out says why, and exits with 2."""
    monkeypatch.chdir(tmp_path)

    assert main(command) == 2
    err = capsys.readouterr().err
    assert err.startswith("odp-logging: ")
    assert answer in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_which_dead_letters_must_be_said(command, capsys):
    """Nothing is dropped or retried by leaving out which."""
    with pytest.raises(SystemExit) as ended:
        main(["dead", command, "--spool", "."])

    assert ended.value.code == 2
    assert "--all" in capsys.readouterr().err
