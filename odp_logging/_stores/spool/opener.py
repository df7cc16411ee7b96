"""Open the files of ended processes: verified, recovered, or set aside.

`OrphanedFiles` and `OrphanQuota` acquire a file and open it here. Another program or
version may have written it, and its process may have died within a write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import directory as _directory
from .connection import measure_regular, verify
from .errors import (
    DamagedError,
    ForeignFileError,
    SpoolError,
    UnsafeFileError,
    UnwritableError,
)
from .file import SpoolFile
from .file_lock import FileLock
from .recovery import recover_file
from .schema import DeadLetterRow, Row
from .wal import WriteAheadLog
from .warnings import SpoolWarnings


class FileOpener:
    """
    Opens files of *spool_dir* that this process owns.

    Args:
        account: Destination of recovered events whose file is replaced.
    """

    def __init__(self, spool_dir: Path, account: str, warnings: SpoolWarnings) -> None:
        self.account = account
        self.ignored: set[str] = set()
        """Names of files without events to send, or that are not to be opened again."""
        self._spool_dir = spool_dir
        self._warnings = warnings

    def open(self, file_lock: FileLock) -> SpoolFile | None:
        """
        Open the file, or a copy with what could be recovered from it.

        Returns:
            The file; None if it is not to be sent from. Its ownership is then released.
        """
        name = file_lock.path.name
        try:
            return self._open_or_recover(file_lock)
        except ForeignFileError as error:
            self._warnings.report_foreign(name, error)
        except UnsafeFileError as error:
            self._quarantine(file_lock, error)
            return None
        except DamagedError as error:
            file = self.recover(file_lock, error)
            if file is not None:
                return file
        except SpoolError:  # temporary: the next scan tries again
            file_lock.close()
            return None
        self.ignored.add(name)
        file_lock.close()
        return None

    def _open_or_recover(self, file_lock: FileLock) -> SpoolFile:
        """Open the file; if its log is damaged, a copy with what follows the damage."""
        measure_regular(file_lock.path)
        log = WriteAheadLog(file_lock.path)
        frames = log.count_frames()
        if frames and verify(file_lock.path) is None and log.read_frames():
            # SQLite would create the tables again and overwrite the log.
            raise DamagedError("the start of its write-ahead log")
        file = SpoolFile(file_lock)
        valid = file.count_valid_frames()
        if valid >= frames or len(log.read_frames(valid)) <= valid:
            return file
        error = DamagedError("its write-ahead log")
        copy = self.recover(file_lock, error, valid=valid)
        file.close_database()  # only now, because closing deletes the log
        if copy is None:
            raise UnwritableError("its recovered events cannot be written")
        return copy

    def _quarantine(self, file_lock: FileLock, error: Exception) -> None:
        """Rename a file that is not safe to open."""
        name = file_lock.path.name
        try:
            outcome = (
                f"was renamed to {file_lock.rename_with_suffix('quarantined').name}"
            )
        except OSError:
            outcome = "is not opened"
            self.ignored.add(name)
            file_lock.close()
        self._warnings.report_unsafe(name, outcome, error)

    def recover(
        self,
        file_lock: FileLock,
        error: Exception,
        settled: frozenset[int] = frozenset(),
        valid: int = 0,
    ) -> SpoolFile | None:
        """
        Rename a damaged file; return a new file with its readable events.

        Args:
            settled: Numbers of events that were settled and not deleted.
            valid: Frames of its log that SQLite could read.
        """
        recovered, name = recover_file(file_lock, valid)
        rows = [row for row in recovered.rows if row.number not in settled]
        file = None
        if rows or recovered.letters:
            try:
                file = self._write_copy(rows, recovered.letters)
            except (SpoolError, OSError):
                rows = []  # disk full: the renamed file still has them
        self._warnings.report_damaged_orphan(error, name, len(rows))
        return file

    def _write_copy(
        self, rows: Sequence[Row], letters: Sequence[DeadLetterRow]
    ) -> SpoolFile:
        file = SpoolFile(_directory.create_file(self._spool_dir, self.account))
        try:
            file.restore(rows, letters)
        except BaseException:
            file.remove()
            raise
        return file
