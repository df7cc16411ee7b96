"""The doctor checks a spool's directory and contents, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from odp_logging import OdpClient
from odp_logging._stores.spool import directory as _directory
from odp_logging._stores.spool.file import SpoolFile

from ..test_tail import body
from .conftest import get_finding, list_kinds


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory that ODP_SPOOL names; it does not exist yet."""
    monkeypatch.setenv("ODP_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def test_a_missing_spool_is_ok(home, doctor):
    """A client creates it when it is needed; the doctor does not."""
    assert list_kinds(doctor()[1], "spool") == ["ok"]
    assert not home.exists()


def test_the_contents_of_a_spool_are_counted(environment, home, doctor):
    """Events, dead letters, and files of other accounts or damaged ones are counted."""
    account = OdpClient(enabled=False)._config.destination().fingerprint
    for name in (account, "another"):
        _directory.prepare(home)
        file = SpoolFile(_directory.create_file(home, name))
        file.add([body(1), body(2)], 1)
        file.settle([], {file.read(1)[0]: "reason"})
        file.close_database()
        file.file_lock.release()
    (home / "x-1-a.spool").write_bytes(b"nothing")
    before = sorted(home.iterdir())
    status, found = doctor()

    assert status == 0
    texts = [result["found"] for result in found["spool"]]
    assert "holds 2 events and 2 dead letters in 3 files" in texts[0]
    assert texts[1].startswith("1 event of processes that have ended")
    assert texts[2] == "ODP rejected 2 events, with its reason"
    assert texts[3].startswith("2 files there belong to other keys or hosts")
    assert texts[4] == "1 file there cannot be read"
    assert sorted(home.iterdir()) == before
    assert "ada@" not in str(found)


def test_events_of_a_running_process_are_not_orphaned(environment, home, doctor):
    """Events of a running process are no hint; a nearly full spool is one."""
    account = OdpClient(enabled=False)._config.destination().fingerprint
    _directory.prepare(home)
    file = SpoolFile(_directory.create_file(home, account))
    file.add([body(1)], 1)
    _, found = doctor()
    assert list_kinds(found, "spool") == ["ok"]

    os.environ["ODP_SPOOL_MAX_BYTES"] = "300"
    _, found = doctor()
    file.close()
    del os.environ["ODP_SPOOL_MAX_BYTES"]
    assert list_kinds(found, "spool") == ["hint"]
    assert found["spool"][0]["advice"].startswith("nearly full")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")
def test_a_spool_of_another_user_is_a_problem(home, doctor):
    """The directory must belong to the current user."""
    home.mkdir(mode=0o700)
    os.chown(home, 12345, 12345)

    assert "it belongs to another user" in get_finding(doctor()[1], "spool")[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_spool_is_a_problem(home, doctor):  # pragma: no cover
    """The directory, or the one above it, must be writable."""
    home.parent.chmod(0o500)
    assert "this user may not write to" in get_finding(doctor()[1], "spool")[1]

    home.parent.chmod(0o700)
    home.mkdir(mode=0o500)
    assert "this user may not write to it" in get_finding(doctor()[1], "spool")[1]


@pytest.mark.parametrize("form", ["link", "file", "open"])
def test_an_unusable_directory_is_a_problem(home, doctor, form):
    """A link, a file, and a directory that other users can enter are problems."""
    if form == "link":
        home.symlink_to(home.parent)
    elif form == "file":
        home.write_text("")
    else:
        home.mkdir(mode=0o755)
        (home / "other").write_text("")
    status, found = doctor()

    assert status == 1
    assert list_kinds(found, "spool") == ["problem"]
    assert "cannot be used: it is" in found["spool"][0]["found"]
