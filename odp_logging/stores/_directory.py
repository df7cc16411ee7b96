"""A spool's directory: private files, each claimed by one living process."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".spool"
UNKNOWN = "unknown"
"""Account of files that were written before any destination was known."""

_LOCK = ".lock"
_ATTEMPTS = 10
_FRESH = 60.0
_PARTS = ("", "-wal", "-shm", "-journal")

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "ncpfs"}
    | {"glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "beegfs", "gpfs"}
)


class Refused(OSError):
    """The directory is not one that events may be written to."""


class Claim:
    """
    A spool file that belongs to this process for as long as the claim is held.

    The claim is an advisory lock on a file beside the spool. The system takes it back
    when the process ends, however it ends; then another process may claim the file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._name = os.fspath(path)

    def exists(self) -> bool:
        """Whether the file is there; asked before each commit."""
        # Half the price of os.stat, which has the last word: access() asks on behalf of
        # the real user, who may not see what the effective one does.
        return os.access(self._name, os.F_OK) or os.path.exists(self._name)

    def release(self, *, remove: bool = False) -> None:
        """Give the file up; *remove* it and all that belongs to it."""
        try:
            if remove:
                for end in _PARTS:
                    self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            if remove or not self.path.exists():
                lock_of(self.path).unlink(missing_ok=True)
        except OSError:
            pass  # not to be written any more: whoever can will find it void
        finally:
            self.forget()

    def copy_aside(self, end: str) -> Path:
        """Copy the file and what belongs to it, for somebody to look at."""
        aside = self.path.with_name(f"{self.path.name}.{end}")
        for part in _PARTS:
            old = self.path.with_name(self.path.name + part)
            if old.exists():
                copied = aside.with_name(aside.name + part)
                shutil.copyfile(old, copied)
                copied.chmod(0o600)
        return aside

    def set_aside(self, end: str) -> Path:
        """Rename the file and what belongs to it, so that nobody takes it again."""
        aside = self.path.with_name(f"{self.path.name}.{end}")
        for part in _PARTS:
            old = self.path.with_name(self.path.name + part)
            if old.exists():
                old.rename(aside.with_name(aside.name + part))
        self.release()
        return aside

    def forget(self) -> None:
        """Close our hold on the lock, in a forked child for one, which shares it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_of(path: Path) -> Path:
    """Return the file beside *path* whose lock says that somebody has it."""
    return path.with_name(path.name + _LOCK)


def account_of(path: Path) -> str:
    """Return the account that the name of a spool file names."""
    return path.name.partition("-")[0]


def prepare(directory: Path) -> None:
    """
    Make *directory* if need be, for nobody's eyes but its owner's.

    Raises:
        Refused: It is a link, is no directory, or belongs to somebody else.
        OSError: It cannot be made.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    found = os.lstat(directory)
    if stat.S_ISLNK(found.st_mode):
        raise Refused("it is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        raise Refused("it is no directory")
    if found.st_uid != os.geteuid():
        raise Refused("it belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        if any(SUFFIX not in name for name in os.listdir(directory)):
            raise Refused("it is open to other users and holds other files")
        directory.chmod(stat.S_IMODE(found.st_mode) & 0o700)


MOUNTS = Path("/proc/mounts")
"""Where Linux says what is mounted; nothing is known elsewhere."""


def is_network(directory: Path, mounts: Path = MOUNTS) -> bool:
    """Whether *directory* lies on a network file system, where locks are uncertain."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    place = directory.resolve()
    longest, kind = -1, ""
    for line in lines:
        _, _, rest = line.partition(" ")
        point, _, rest = rest.partition(" ")
        mounted = Path(point.replace("\\040", " "))
        if len(point) > longest and (mounted == place or mounted in place.parents):
            longest, kind = len(point), rest.partition(" ")[0]
    return kind in _NETWORK


def create(directory: Path, account: str) -> Claim:
    """Make an empty spool file for *account* in *directory*, and claim it."""
    for attempt in range(_ATTEMPTS):
        name = f"{account}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        try:
            claim = _claimed(directory / name)
            break
        except (BlockingIOError, FileNotFoundError):  # one who sweeps, see below
            if attempt == _ATTEMPTS - 1 or not directory.exists():
                raise
    # SQLite gives its other files the mode of this one.
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(claim.path, flags, 0o600))
    except BaseException:
        claim.release()
        raise
    return claim


def claim_file(path: Path) -> Claim | None:
    """Claim the spool at *path*; None if a living process has it, or it is odd."""
    try:
        # A lock for what is gone meanwhile would be left lying about.
        return _claimed(path) if path.exists() else None
    except OSError:
        return None


def is_claimed(path: Path) -> bool:
    """Whether a living process has the spool at *path*; nothing is made or kept."""
    try:
        descriptor = os.open(lock_of(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _claimed(path: Path) -> Claim:
    lock = lock_of(path)
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(lock, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it before may have removed it: then this lock guards nothing.
        if os.fstat(descriptor).st_ino != os.stat(lock).st_ino:
            raise FileNotFoundError("its lock was removed by another process")
    except OSError:
        os.close(descriptor)
        raise
    return Claim(path, descriptor)


def spools(directory: Path) -> list[Path]:
    """Return the spool files in *directory*, the oldest first."""
    found = []
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return []
    for entry in entries:
        if not entry.name.endswith(SUFFIX):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        ours = status.st_uid == os.geteuid() and status.st_nlink == 1
        if stat.S_ISREG(status.st_mode) and ours:
            found.append((status.st_mtime, Path(entry.path)))
    return [path for _, path in sorted(found)]


def sweep(directory: Path) -> None:
    """Remove locks that nobody holds and that guard nothing."""
    for lock in directory.glob(f"*{SUFFIX}{_LOCK}"):
        path = lock.with_name(lock.name[: -len(_LOCK)])
        try:
            # A lock comes before its file: not those that were made just now.
            fresh = time.time() - lock.lstat().st_mtime < _FRESH
        except OSError:
            continue
        if fresh or path.exists():
            continue
        try:
            _claimed(path).release()
        except OSError:
            continue


def orphans(paths: list[Path]) -> Iterator[Claim]:
    """Claim, one by one, those of *paths* whose processes are gone."""
    for path in paths:
        claim = claim_file(path)
        if claim is None:
            continue
        if path.exists():
            yield claim
        else:
            claim.release()


def size_of(path: Path) -> int:
    """Return the bytes of a spool file on disk, its write-ahead log included."""
    total = 0
    for end in _PARTS:
        try:
            total += os.lstat(path.with_name(path.name + end)).st_size
        except OSError:
            pass
    return total
