"""`replay` of the events of an old key, with the new one."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from odp_logging import OdpEvent
from odp_logging._cli.main import main
from odp_logging._stores.spool import directory as _directory
from odp_logging._stores.spool.directory import list_files
from odp_logging._stores.spool.file import SpoolFile
from odp_logging._stores.spool.file_lock import claim_file
from odp_logging._stores.spool.reader import SpoolReader
from odp_logging._stores.spool.rotation import Moved, move_files
from odp_logging._stores.spool.warnings import SpoolWarnings
from odp_logging.emulator import Emulator

from ..conftest import KEY
from .test_spool import leave_events

OLD = "the-old-key-8899"


@pytest.fixture(autouse=True)
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key and the host; the emulator refuses all other keys."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    monkeypatch.setenv("OLD_KEY", f"{OLD}\n")


@pytest.mark.parametrize("source", ["env", "file"])
def test_the_events_of_an_old_key_are_sent_with_the_new_one(
    home, emulator, tmp_path, capsys, source
):
    """They are sent once, together with those of the new key; other keys stay."""
    (tmp_path / "old.txt").write_text(f"{OLD}\n")
    leave_events(home, emulator, 12, key=OLD)
    leave_events(home, emulator, 5)
    leave_events(home, emulator, 3, key="another-key")
    option = {
        "env": ["--from-key-env", "OLD_KEY"],
        "file": ["--from-key-file", str(tmp_path / "old.txt")],
    }[source]

    assert main(["replay", "--spool", str(home), "--json", *option]) == 1
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    assert (summary["moved"], summary["sent"], summary["left"]) == (12, 17, 0)
    assert summary["other_events"] == 3
    assert "12 events and 0 dead letters of the old key moved" in shown.err
    assert OLD not in shown.out + shown.err
    assert emulator.stats()["unique"] == 17
    assert emulator.stats()["duplicates"] == 0


def test_the_old_key_may_have_had_another_host(home, emulator, capsys):
    """--from-host names it."""
    with Emulator() as earlier:
        leave_events(home, earlier, 2, key=OLD)
        words = ["replay", "--spool", str(home), "--from-key-env", "OLD_KEY"]
        assert main(words) == 1
        assert main([*words, "--from-host", earlier.url]) == 0
    assert capsys.readouterr().out.endswith("2 of 2 events sent, 0 left\n")


def test_events_of_running_processes_stay(home, emulator, capsys):
    """A file in use is not moved: its process would go on writing to it."""
    leave_events(home, emulator, 1, key=OLD)
    (path,) = list_files(home)
    ownership = claim_file(path)
    assert ownership is not None
    assert main(["replay", "--spool", str(home), "--from-key-env", "OLD_KEY"]) == 1
    shown = capsys.readouterr()
    ownership.release()

    assert shown.out == "0 of 0 events sent, 0 left; 1 of another key or host\n"
    assert "0 events and 0 dead letters" in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from-key-env", OLD], "variable of --from-key-env is not set"),
        (["--from-key-file", f"/nowhere/{OLD}"], "--from-key-file cannot be read: No"),
        (["--from-key-file", "EMPTY"], "the file of --from-key-file is empty"),
        (["--from-key-env", "ODP_API_KEY"], "the old key and host are those of"),
        (["--from-host", "http://127.0.0.1:9"], "--from-host needs --from-key-env"),
    ],
)
def test_an_error_is_one_line_without_the_key(
    home, emulator, tmp_path, capsys, words, message
):
    """Nothing is moved; a key that was given by mistake is not repeated."""
    (tmp_path / "empty").write_text("\n")
    leave_events(home, emulator, 1, key=OLD)
    words = [word.replace("EMPTY", str(tmp_path / "empty")) for word in words]

    assert main(["replay", "--spool", str(home), *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert OLD not in err
    assert emulator.stats()["received"] == 0


def test_a_file_that_another_process_only_looks_at_is_moved(home, emulator, capsys):
    """The scan of a running process holds the lock of each file for a moment."""
    leave_events(home, emulator, 1, key=OLD)
    (path,) = list_files(home)
    ownership = claim_file(path)
    assert ownership is not None
    release = threading.Timer(0.1, ownership.release)
    release.start()
    try:
        command = ["replay", "--spool", str(home), "--from-key-env", "OLD_KEY"]
        assert main(command) == 0
    finally:
        release.join()
    assert capsys.readouterr().out == "1 of 1 event sent, 0 left\n"


def build_file(home: Path, account: str, events: int, dead: int = 0) -> Path:
    """Return a spool file of an ended process with events and dead letters."""
    _directory.prepare(home)
    ownership = _directory.create_file(home, account)
    file = SpoolFile(ownership)
    bodies = [OdpEvent("sold", {"fs_user_id": "u"}, data={"n": n}).json for n in (1, 2)]
    file.add(bodies[:1] * events, 1)
    file.add_dead_letters({100 + n: (bodies[1], "why") for n in range(dead)})
    file.close(keep_time=1_000_000_000)
    return ownership.path


def move(home: Path) -> tuple[Moved, list[str]]:
    """Move all files of the account `old` to `new`; return the warnings, too."""
    texts: list[str] = []
    warnings = SpoolWarnings(home, lambda kind, text: texts.append(text))
    moved = move_files(home, list_files(home), old="old", new="new", warnings=warnings)
    warnings.emit()
    return moved, texts


def test_dead_letters_and_the_age_move_as_well(home):
    """The new file has all rows and the time of the old one, which is gone."""
    build_file(home, "old", 3, 2)
    kept = build_file(home, "else", 1)
    moved, texts = move(home)

    assert (moved, texts) == (Moved(3, 2), [])
    (path,) = [path for path in list_files(home) if path != kept]
    assert path.name.startswith("new-")
    assert path.stat().st_mtime == 1
    with SpoolReader(path) as reader:
        assert (reader.count, reader.dead_count) == (3, 2)
        assert {letter.reason for letter in reader.read_dead_letters()} == {"why"}
    ownership = claim_file(path)
    assert ownership is not None
    ownership.release()


def test_files_that_cannot_be_read_stay_or_are_recovered(home):
    """One of another version stays; of a damaged one what is readable moves."""
    foreign, damaged = build_file(home, "old", 1), build_file(home, "old", 50)
    with closing(sqlite3.connect(foreign)) as other, other:
        other.execute("PRAGMA user_version = 9")
    content = bytearray(damaged.read_bytes())
    content[-4096:] = b"\xff" * 4096
    damaged.write_bytes(content)
    moved, texts = move(home)

    assert foreign in list_files(home)
    assert any("version 9" in text for text in texts)
    assert 0 < moved.events <= 50
    assert [path.name[:4] for path in list_files(home) if path != foreign] == ["new-"]
