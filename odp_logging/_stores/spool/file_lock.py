"""Own a spool file: one living process at a time sends from it and writes to it.

Every module that opens a spool file acquires its `FileLock` first; the commands
that only read ask `is_owned`.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..._runtime.lock import monotonic

PARTS = ("", "-wal", "-shm", "-journal")
"""What SQLite appends to the name of a database for the names of its parts."""

LOCK_SUFFIX = ".lock"

_CLAIM_PAUSE_SECONDS = 0.01

IDENTITY_CHECK_SECONDS = 0.05
"""Seconds between two full checks that the files of an open spool are in place."""


class FileLock:
    """
    Makes a spool file belong to this process for as long as the lock is held.

    It is an advisory lock (flock) on a file beside the spool file. The system releases
    it when the process ends, even by SIGKILL; then another process can acquire it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._name = os.fspath(path)
        self._files: dict[str, tuple[int, int]] = {}
        self._check_at = 0.0

    def record_file_identities(self) -> None:
        """Record device and inode of the open files, to detect replacements later."""
        for suffix in (*PARTS, LOCK_SUFFIX):
            name = f"{self._name}{suffix}"
            try:
                status = os.stat(name)
            except OSError:
                continue
            self._files[name] = (status.st_dev, status.st_ino)

    def is_probably_intact(self) -> bool:
        """
        Check that the file exists, and everything every `IDENTITY_CHECK_SECONDS`.

        Called before each commit; takes 0.6 us.
        """
        # access() takes half the time of stat(). stat() decides: access() checks the
        # real user id, which may lack permissions that the effective one has.
        if not os.access(self._name, os.F_OK) and not os.path.exists(self._name):
            return False
        return monotonic() < self._check_at or self.is_intact()

    def is_intact(self) -> bool:
        """Whether all names still refer to the files that were opened."""
        for name, identity in self._files.items():
            if not _is_same(name, identity):
                self._check_at = 0.0
                return False
        self._check_at = monotonic() + IDENTITY_CHECK_SECONDS
        return True

    def set_modified_time(self, modified: int) -> None:
        """Set the file's modification time to *modified*, in ns since the epoch."""
        try:
            os.utime(self.path, ns=(modified, modified))
        except OSError:
            pass  # the file is then only sent later than older ones

    def owns_file_name(self) -> bool:
        """Whether the name of the spool file still refers to the opened file."""
        return self._is_own(self._name)

    def owns_lock_name(self) -> bool:
        """Whether the name of the lock file still refers to the lock that is held."""
        return self._is_own(os.fspath(build_lock_path(self.path)))

    def _is_own(self, name: str) -> bool:
        return name not in self._files or _is_same(name, self._files[name])

    def release(self, *, remove: bool = False) -> None:
        """Release the lock; *remove* also deletes the spool file and its parts."""
        try:
            if remove and self.owns_lock_name():
                owns_all = self.owns_file_name()
                for part in PARTS:
                    name = f"{self._name}{part}"
                    if owns_all or (name in self._files and self._is_own(name)):
                        Path(name).unlink(missing_ok=True)
            if not self.path.exists():
                build_lock_path(self.path).unlink(missing_ok=True)
        except OSError:
            pass  # read-only by now; the process that can write finds the file empty
        finally:
            self.close()

    def rename_with_suffix(self, suffix: str) -> Path:
        """Add *suffix* to the names of the file's parts, so that it is not opened."""
        target = self.path.with_name(f"{self.path.name}.{suffix}")
        for part in PARTS:
            old = self.path.with_name(self.path.name + part)
            if old.exists():
                old.rename(target.with_name(target.name + part))
        self.release()
        return target

    def close(self) -> None:
        """Close the lock's descriptor and leave all files, as a forked child must."""
        # In a child this leaves the parent's lock: both share one open file (flock(2)).
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _is_same(name: str, identity: tuple[int, int]) -> bool:
    try:
        status = os.stat(name)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == identity


def build_lock_path(path: Path) -> Path:
    """Return the path of the lock file beside *path*."""
    return path.with_name(path.name + LOCK_SUFFIX)


def claim_file(path: Path) -> FileLock | None:
    """Acquire the spool at *path*; None if it is owned, gone or unusable."""
    try:
        # Acquiring creates the lock file, which would stay if the spool is gone.
        return acquire(path) if path.exists() else None
    except OSError:
        return None


def is_owned(path: Path) -> bool:
    """Whether a living process owns the spool at *path*; creates no file."""
    try:
        # O_NONBLOCK, because opening a named pipe in its place would block.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(build_lock_path(path), flags)
    except OSError:
        return False
    try:
        # Shared: two processes that ask at once do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def acquire(path: Path) -> FileLock:
    """
    Acquire the spool file at *path*, which need not exist yet.

    Raises:
        OSError: Another process owns it, or its lock file cannot be opened.
    """
    lock = build_lock_path(path)
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(lock, flags, 0o600)
    try:
        # Not a POSIX lock (lockf): it ends when the process closes any descriptor of
        # the file.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous owner may have removed the file: this lock protects nothing then.
        if os.fstat(descriptor).st_ino != os.stat(lock).st_ino:
            raise FileNotFoundError("its lock was removed by another process")
    except OSError:
        os.close(descriptor)
        raise
    return FileLock(path, descriptor)


def claim_orphans(
    paths: Iterable[Path], *, wait_seconds: float = 0.0
) -> Iterator[FileLock]:
    """
    Acquire and yield, one by one, those of *paths* that no process owns.

    Args:
        wait_seconds: Time to wait in total for files that are owned. The scan of
            another process holds the lock of a file for a moment.
    """
    deadline = monotonic() + wait_seconds
    pause = threading.Event()
    for path in paths:
        file_lock = claim_file(path)
        while file_lock is None and path.exists() and monotonic() < deadline:
            pause.wait(_CLAIM_PAUSE_SECONDS)
            file_lock = claim_file(path)
        if file_lock is None:
            continue
        if path.exists():
            yield file_lock
        else:
            file_lock.release()
