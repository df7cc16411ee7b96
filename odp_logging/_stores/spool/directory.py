"""Prepare and check a spool directory; create and list its files.

Used by the spool store, the scan for orphaned files and the commands. Directory and
files are private to their user.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from pathlib import Path

from .file_lock import LOCK_SUFFIX, PARTS, FileLock, acquire

SUFFIX = ".spool"
UNKNOWN = "unknown"
"""Account in the names of files written before any destination was known."""

_MAX_CREATE_ATTEMPTS = 10
_STALE_LOCK_SECONDS = 60.0
_OTHER_ACCESS_BITS = 0o077

# In WAL mode SQLite needs memory that all processes share (its page "Write-Ahead
# Logging"), and hosts share none.
_NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "ncpfs"}
    | {"glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "beegfs", "gpfs"}
)


class UnsafeDirError(OSError):
    """Events must not be written to the directory; the message gives the reason."""


def parse_account(path: Path) -> str:
    """Return the account in the name of a spool file."""
    return path.name.partition("-")[0]


def prepare(spool_dir: Path) -> None:
    """
    Create *spool_dir* if it is missing, with access for its owner only.

    Raises:
        UnsafeDirError: Events must not be written there.
        OSError: It cannot be created.
    """
    for path in (*reversed(spool_dir.parents), spool_dir):
        # One by one, because mkdir(parents=True) applies the umask, not the mode, to
        # all folders but the last.
        if not path.is_dir():
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                pass
    reason = check_access(spool_dir)
    if reason is not None:
        raise UnsafeDirError(reason)
    mode = stat.S_IMODE(os.lstat(spool_dir).st_mode)
    if mode & _OTHER_ACCESS_BITS:
        spool_dir.chmod(mode & 0o700)


def check_access(spool_dir: Path) -> str | None:
    """
    Return why events must not be written to *spool_dir*; None if they may.

    Raises:
        OSError: It does not exist or cannot be read.
    """
    status = os.lstat(spool_dir)
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is no directory"
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    # A directory with other files, such as /tmp, is shared on purpose. One with spool
    # files alone is this library's, and `prepare` closes it to others.
    if status.st_mode & _OTHER_ACCESS_BITS and any(
        SUFFIX not in name for name in os.listdir(spool_dir)
    ):
        return "it is open to other users and holds other files"
    return None


def check_writable(spool_dir: Path) -> str | None:
    """
    Return why `prepare` would fail for *spool_dir*; None if it would not.

    Leaves nothing behind: a process that gives up its privileges later would otherwise
    leave a directory that it cannot write to any more.
    """
    try:
        if os.path.lexists(spool_dir):
            reason = check_access(spool_dir)
            if reason is None and not os.access(spool_dir, os.W_OK | os.X_OK):
                reason = "this user may not write to it"
            return reason
    except OSError as error:
        return error.strerror
    parent = next(path for path in spool_dir.parents if os.path.lexists(path))
    # Tried, since os.access permits root even what the file system does not.
    probe = parent / f".{secrets.token_hex(8)}{SUFFIX}"
    try:
        os.mkdir(probe, 0o700)
        os.rmdir(probe)
    except OSError as error:
        return f"it cannot be made in {parent}: {error.strerror}"
    return None


MOUNTS = Path("/proc/mounts")
"""Linux's table of mounted file systems; other systems have none."""


def is_network_filesystem(spool_dir: Path, mounts: Path = MOUNTS) -> bool:
    """Whether *spool_dir* is on a network file system: locks are unreliable there."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    resolved = spool_dir.resolve()
    parents = {resolved, *resolved.parents}
    longest, kind = -1, ""
    for line in lines:
        # device, mount point, type, ...; a blank in a name is written as \040.
        _, _, rest = line.partition(" ")
        mount_point, _, rest = rest.partition(" ")
        is_parent = Path(mount_point.replace("\\040", " ")) in parents
        # The longest mount point is the innermost one, which has the directory.
        if is_parent and len(mount_point) > longest:
            longest, kind = len(mount_point), rest.partition(" ")[0]
    return kind in _NETWORK_FILESYSTEMS


def create_file(spool_dir: Path, account: str) -> FileLock:
    """Create an empty spool file for *account* in *spool_dir*, and own it."""
    for attempt in range(_MAX_CREATE_ATTEMPTS):
        name = f"{account}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        try:
            file_lock = acquire(spool_dir / name)
            break
        except (BlockingIOError, FileNotFoundError):
            # Another process took or removed the lock.
            if attempt == _MAX_CREATE_ATTEMPTS - 1 or not spool_dir.exists():
                raise
    # SQLite creates the -wal and -shm files with the mode of this file.
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(file_lock.path, flags, 0o600))
    except BaseException:
        file_lock.release()
        raise
    return file_lock


def list_files(spool_dir: Path) -> list[Path]:
    """Return the spool files in *spool_dir* that this user owns, the oldest first."""
    files = []
    try:
        entries = list(os.scandir(spool_dir))
    except OSError:
        return []
    for entry in entries:
        if not entry.name.endswith(SUFFIX):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        # A hard link could be another user's way to have a file sent or deleted.
        is_private = status.st_uid == os.geteuid() and status.st_nlink == 1
        if stat.S_ISREG(status.st_mode) and is_private:
            files.append((status.st_mtime, Path(entry.path)))
    return [path for _, path in sorted(files)]


def remove_stale_locks(spool_dir: Path) -> None:
    """Remove lock files that no process holds and whose spool file is gone."""
    for lock in spool_dir.glob(f"*{SUFFIX}{LOCK_SUFFIX}"):
        path = lock.with_name(lock.name[: -len(LOCK_SUFFIX)])
        try:
            # A new lock is created before its spool file, so recent ones stay.
            is_recent = time.time() - lock.lstat().st_mtime < _STALE_LOCK_SECONDS
        except OSError:
            continue
        if is_recent or path.exists():
            continue
        try:
            acquire(path).release()
        except OSError:
            continue


def get_file_size(path: Path) -> int:
    """Return the bytes of a spool file on disk, including its write-ahead log."""
    return sum(read_file_state(path)[1:])


def read_file_state(path: Path) -> tuple[int, ...]:
    """Return a spool file's modification time in ns, and the bytes of each part."""
    modified = 0
    sizes = []
    for part in PARTS:
        try:
            status = os.lstat(f"{path}{part}")
        except OSError:
            sizes.append(0)
            continue
        sizes.append(status.st_size if part != "-shm" else 0)
        if part != "-shm":
            modified = max(modified, status.st_mtime_ns)
    return modified, *sizes
