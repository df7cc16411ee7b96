"""Spool files whose processes are gone: found, claimed by one process, and emptied."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import _directory
from ._directory import Claim
from ._rescue import committed_frames, rescue
from ._spoolfile import Damaged, Foreign, Row, SpoolError, SpoolFile

INTERVAL = 30.0
"""Seconds between two looks at the directory."""

Said = tuple[str, str]


class Leftovers:
    """
    What other processes left in *directory* for *account*.

    One file is held at a time; when it is empty the next one is looked for.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        directory: Path,
        account: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account = account
        self._directory = directory
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._files: list[SpoolFile] = []
        self._next_look = 0.0
        self._barren: set[str] = set()
        self._told = False

    def files(self) -> Sequence[SpoolFile]:
        """Return the files held."""
        return tuple(self._files)

    def current(self) -> SpoolFile | None:
        """Return the file to send from; None if there is none."""
        return self._files[0] if self._files else None

    def size(self) -> int:
        """Return the bytes of what is held."""
        return sum([file.size + file.dead_size for file in self._files])

    def is_time(self) -> bool:
        """Whether the directory should be looked at."""
        return not self._files and self._clock() >= self._next_look

    def hold(self, file: SpoolFile) -> None:
        """Send from *file* as well."""
        self._files.append(file)

    def look(self, max_bytes: int) -> tuple[SpoolFile | None, list[Said]]:
        """
        Claim the oldest file that has events; drop what is beyond *max_bytes*.

        Returns:
            The file, and what is to be said.
        """
        self._next_look = self._clock() + INTERVAL
        try:
            _directory.sweep(self._directory)
        except OSError:  # no directory of that name can be; who writes to it says so
            return None, []
        paths = _directory.spools(self._directory)
        said = self._strangers(paths)
        mine = [path for path in paths if self._is_mine(path)]
        if sum([_directory.size_of(path) for path in mine]) > max_bytes:
            said += self._prune(mine, max_bytes)
        for claim in _directory.orphans(mine):
            file = self._opened(claim, said)
            if file is not None and file.count:
                return file, said
            if file is not None:
                self._barren.add(claim.path.name)
                file.close()
        return None, said

    def _is_mine(self, path: Path) -> bool:
        account = _directory.account_of(path)
        known = path.name in self._barren
        return account in (self.account, _directory.UNKNOWN) and not known

    def _opened(self, claim: Claim, said: list[Said]) -> SpoolFile | None:
        name = claim.path.name
        try:
            return self._whole(claim, said)
        except Foreign as error:
            said.append(
                (
                    f"spool_foreign:{name}",
                    f"{name} in the spool {self._directory} was left alone: {error};"
                    " move it elsewhere",
                )
            )
        except Damaged as error:
            file, line = self.rescued(claim, error)
            said.append(("spool_damaged", line))
            if file is not None:
                return file
        except SpoolError:  # not now: looked at again
            claim.forget()
            return None
        self._barren.add(name)
        claim.forget()
        return None

    def _whole(self, claim: Claim, said: list[Said]) -> SpoolFile:
        """Open the file, and say so if SQLite cannot read all that was committed."""
        file = SpoolFile(claim)
        if file.frames() < committed_frames(claim.path):
            aside = claim.copy_aside("damaged")
            said.append(
                (
                    "spool_damaged",
                    f"the end of {claim.path.name} in the spool {self._directory} is"
                    f" damaged; a copy was set aside as {aside.name}; {file.count}"
                    " events could be read and will be sent",
                )
            )
        return file

    def rescued(
        self, claim: Claim, error: Exception, settled: frozenset[int] = frozenset()
    ) -> tuple[SpoolFile | None, str]:
        """Set a damaged file aside; return one with what could be read of it."""
        rows, name = rescue(claim)
        rows = [row for row in rows if row.number not in settled]
        try:
            file = self._copied(rows) if rows else None
        except (SpoolError, OSError):
            file, rows = None, []
        return file, (
            f"a file of the spool {self._directory} is damaged ({error}); it was set"
            f" aside as {name}; {len(rows)} events could be read and will be sent"
        )

    def _copied(self, rows: Sequence[Row]) -> SpoolFile:
        file = SpoolFile(_directory.create(self._directory, self.account))
        file.add([row.body for row in rows], 1)
        return file

    def _prune(self, paths: Sequence[Path], max_bytes: int) -> list[Said]:
        """Remove the oldest files of processes that are gone, beyond *max_bytes*."""
        total = count = dead = 0
        for claim in _directory.orphans(list(reversed(paths))):
            size = _directory.size_of(claim.path)
            total += size
            if total <= max_bytes or total == size:
                claim.forget()
                continue
            try:
                file = SpoolFile(claim)
            except SpoolError:  # not ours to delete: `look` says what it is
                claim.forget()
                continue
            count += file.count
            dead += file.dead_count
            file.shut()
            claim.release(remove=True)
        if not count and not dead:
            return []
        return [
            (
                "spool_full",
                f"the spool {self._directory} holds more than spool_max_bytes of"
                f" earlier processes; the oldest files were dropped, {count} events"
                f" and {dead} dead letters in all; raise spool_max_bytes or find out"
                " why ODP does not take them",
            )
        ]

    def _strangers(self, paths: Sequence[Path]) -> list[Said]:
        """Say once that events of another account wait."""
        known = (self.account, _directory.UNKNOWN)
        others = [path for path in paths if _directory.account_of(path) not in known]
        if self._told or not others:
            return []
        gone = list(_directory.orphans(others))
        for claim in gone:
            claim.forget()
        if not gone:
            return []
        self._told = True
        return [
            (
                "spool_account",
                f"{len(gone)} files in the spool {self._directory} are of another key"
                " or host; they stay until a process with that key comes, or until"
                " `odp-logging replay` is run with it",
            )
        ]

    def finish(self, file: SpoolFile) -> None:
        """Close *file*, which has no events left, and look for the next one at once."""
        self.forget(file)
        self._barren.add(file.claim.path.name)
        file.close()

    def forget(self, file: SpoolFile) -> None:
        """Hold *file* no longer."""
        self._files = [each for each in self._files if each is not file]
        self._next_look = 0.0

    def close(self) -> None:
        """Let go of all files, for others to claim."""
        files, self._files = self._files, []
        for file in files:
            file.close()

    def abandon(self) -> None:
        """Leave all files to the parent, in a forked child."""
        for file in self._files:
            file.abandon()
        self._reset()
