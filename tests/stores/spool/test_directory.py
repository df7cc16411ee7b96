"""A spool directory is private, local and usable, or it is reported."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from odp_logging._stores.spool import directory as _directory
from odp_logging._stores.spool.own_file import RETRY_SECONDS

from ..contract import balanced, event
from .spools import (
    Warnings,
    drain,
    make_spool,
)


def test_files_are_private(directory):
    """Created folders and files are private, whatever the umask is."""
    before = os.umask(0)
    directory = directory / "of" / "the" / "shop"
    try:
        make_spool(directory).put(event(1))
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    for folder in (directory, *directory.parents[:3]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes == {0o600}


def test_an_unusable_directory_is_warned_of(tmp_path):
    """A file in its place causes one message; nothing is written or raised."""
    path = tmp_path / "spool"
    path.write_text("of another program")
    warnings = Warnings()
    store = make_spool(path, warn=warnings)

    assert store.try_put(event(1)) is None
    assert store.try_put(event(2)) is None
    assert warnings.kinds == ["spool_failed"]
    assert path.read_text() == "of another program"
    assert balanced(store)


def test_a_link_is_not_followed(tmp_path):
    """A directory that is a link is refused."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "spool").symlink_to(elsewhere)
    warnings = Warnings()

    assert make_spool(tmp_path / "spool", warn=warnings).try_put(event(1)) is None
    assert "symbolic link" in warnings[0][1]
    assert list(elsewhere.iterdir()) == []


def test_an_unusable_directory_is_tried_again(tmp_path):
    """Once the directory can be used, events are written there again."""
    now = [0.0]
    (tmp_path / "spool").write_text("in the way")
    store = make_spool(tmp_path / "spool", clock=lambda: now[0])
    assert store.try_put(event(1)) is None

    (tmp_path / "spool").unlink()
    assert store.try_put(event(2)) is None
    now[0] = RETRY_SECONDS
    assert store.try_put(event(3)) is not None
    assert drain(store) == [3]


def test_a_shared_directory_is_refused(tmp_path):
    """spool="/tmp" is refused; its mode is not changed."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "theirs").touch()
    warnings = Warnings()

    assert make_spool(shared, warn=warnings).try_put(event(1)) is None
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert "holds other files" in warnings[0][1]


def test_a_network_file_system_is_warned_of(tmp_path):
    """The mount of a directory is found in the system's table."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/data {tmp_path} nfs4 rw 0 0\n")

    assert _directory.is_network_filesystem(tmp_path / "spool", mounts)
    assert not _directory.is_network_filesystem(Path("/var"), mounts)
    warnings = Warnings()
    store = make_spool(tmp_path / "spool", mounts=mounts, warn=warnings)
    for number in range(3):
        store.put(event(number))
    assert warnings.kinds == ["spool_network"]
    assert "set spool= to a local directory" in warnings[0][1]
    assert drain(store) == [0, 1, 2]
    assert not _directory.is_network_filesystem(tmp_path, tmp_path / "none")


def test_stale_locks_are_removed(directory):
    """Locks of deleted files are removed, except recent ones."""
    store = make_spool(directory)
    store.put(event(1))
    old, new = (
        directory / "account-1-old.spool.lock",
        directory / "account-2-new.spool.lock",
    )
    for lock in (old, new):
        lock.touch()
    os.utime(old, (1.0, 1.0))
    make_spool(directory).has_more()

    assert not old.exists()
    assert new.exists()
    assert drain(store) == [1]
