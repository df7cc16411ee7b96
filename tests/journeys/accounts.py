"""One row of the promise: run as a process, and accounted for by idempotence id."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from odp_logging.emulator import Emulator

from .pythons import Ended, Program, Python

_EXITING = r"exiting with (\d+) undelivered events? [^;\n]*; they are "
LOST = re.compile(_EXITING + r"lost|, (\d+) are lost")
KEPT = re.compile(_EXITING + r"kept|; (\d+) are kept")
"""What a process says on stderr at its end, of all of them or of some."""


class Outcome(enum.Enum):
    """What a row promises for one column."""

    ALL = "every event that a log call returned for is delivered, by its own process"
    DECLARED = "what is missing was declared, no more and no less"
    KEPT = "what the process did not deliver it says is kept; the next one delivers it"
    FROM_DISK = "every event that a log call returned for is delivered, sooner or later"
    SINCE = "what was logged last may be lost, nothing from before the last flush"


@dataclass(frozen=True)
class Column:
    """A way to keep events: its heading, and the settings that choose it."""

    name: str
    heading: str
    durability: str = ""

    def settings(self, folder: Path) -> dict[str, object]:
        """Return the settings, with a spool in *folder*."""
        if not self.durability:
            return {}
        return {"spool": folder / "spool", "durability": self.durability}


COLUMNS = (
    Column("memory", "in memory"),
    Column("exit", "`spool=DIR`", "exit"),
    Column("crash", '`spool=DIR`, `durability="crash"`', "crash"),
)


@dataclass(frozen=True)
class Row:
    """
    A program, what happens to it, and what becomes of its events.

    Args:
        name: As a test's.
        shown: As a reader's; rows of one promise may share it.
        program, arguments: A file of `programs`; the address of ODP comes first.
        count: Events that it logs at least.
        outcomes: For each of the columns.
        fault: What ODP does, until the next process, or until the program is ready.
        down: Whether ODP is down for as long.
        ready: Whether the program says when it is ready for what follows.
        mend: Whether ODP then is as it should be again.
        signal: Which signal then comes.
        status: How the program ends.
        says: What it may say on stderr.
        within: Seconds that it may take, on a busy machine.
        ordered: Whether what each thread logs arrives in that order.
        repeated: Whether ODP may see an id twice.
        spooled: More settings, for the columns with a spool.
    """

    name: str
    shown: str
    program: str
    arguments: tuple[str, ...]
    count: int
    outcomes: tuple[Outcome, Outcome, Outcome]
    fault: Mapping[str, Any] | None = None
    down: bool = False
    ready: bool = False
    mend: bool = False
    signal: int = 0
    status: int = 0
    says: str = ""
    within: float = 15.0
    ordered: bool = True
    repeated: bool = False
    spooled: Mapping[str, object] = field(default_factory=dict)

    def outcome(self, column: Column) -> Outcome:
        """Return what it promises for *column*."""
        return self.outcomes[COLUMNS.index(column)]


@dataclass(frozen=True)
class Result:
    """What was found: nothing wrong if there are no *problems*."""

    problems: tuple[str, ...]
    lost: int
    duplicated: int
    reordered: int


class Books:
    """What the program wrote into its ledger beside what ODP saw."""

    def __init__(self, ledger: Path, odp: Emulator) -> None:
        self.tried: dict[str, str] = {}
        self.returned: list[str] = []
        self.declared: dict[str, str] = {}
        self.refused = 0
        self.early: set[str] = set()  # what a flush had taken care of
        for line in ledger.read_text().splitlines() if ledger.exists() else ():
            self._read(*line.split(" "))
        entries = odp.events()
        accepted = [each for each in entries if each["status"] == "accepted"]
        self.seen = {_name(each): place for place, each in enumerate(accepted)}
        self.duplicated = sum(each["status"] == "duplicate" for each in entries)

    def _read(self, word: str, name: str, lane: str) -> None:
        if word == "tried":
            self.tried[name] = lane
        elif word == "returned":
            self.returned.append(name)
        elif word == "declared":
            self.declared[name] = lane
        elif word == "refused":
            self.refused += int(name)
        elif word == "mark":
            self.early = set(self.returned)

    @property
    def lost(self) -> list[str]:
        """Return the ids that ODP has not seen although their log calls returned."""
        return [name for name in self.returned if name not in self.seen]

    @property
    def invented(self) -> list[str]:
        """Return the ids that ODP saw and nobody logged."""
        return [name for name in self.seen if name not in self.tried]

    @property
    def reordered(self) -> int:
        """Return how many events came after a later one of the same lane."""
        places = (
            [self.seen[n] for n in names if n in self.seen] for names in self._lanes()
        )
        return sum(a > b for lane in places for a, b in pairwise(lane))

    @property
    def holes(self) -> set[str]:
        """Return what is lost although something later of its lane was seen."""
        ends = (
            names[: max((k for k, n in enumerate(names) if n in self.seen), default=0)]
            for names in self._lanes()
        )
        return {name for names in ends for name in names} & {*self.lost}

    def _lanes(self) -> Iterable[list[str]]:
        lanes: dict[str, list[str]] = {}
        for name, lane in self.tried.items():
            if lane:
                lanes.setdefault(lane, []).append(name)
        return lanes.values()


def run(row: Row, column: Column, python: Python, folder: Path) -> Result:
    """Run *row* in *folder*, and the process after it where something may be kept."""
    ledger = folder / "ledger"
    settings = {
        "test_run": f"{row.name.replace(' ', '-')}-{column.name}-{python.version}",
        "test_ledger": ledger,
        **column.settings(folder),
    }
    if column.durability:
        settings |= row.spooled
    outcome = row.outcome(column)
    with Emulator() as odp:
        ended = _first(row, outcome, odp, python, settings)
        first = Books(ledger, odp)
        problems = [*_ended_badly(row, ended), *_unsaid(outcome, first, ended)]
        if column.durability:
            wanted = len(set(first.returned) - _allowed(row, column, first, ended))
            problems += _next(odp, python, settings, wanted)
        books = Books(ledger, odp)
    final = first if outcome is Outcome.ALL else books
    lost = len(set(final.lost) - _allowed(row, column, final, ended))
    duplicated = 0 if row.repeated else books.duplicated
    reordered = books.reordered if row.ordered else 0
    if lost:
        problems.append(f"{lost} lost without a word, of {books.lost[:5]} …")
    if duplicated:
        problems.append(f"{duplicated} sent twice")
    if reordered:
        problems.append(f"{reordered} out of order")
    problems += _proves_nothing(row, books)
    return Result(tuple(problems), lost, duplicated, reordered)


def _proves_nothing(row: Row, books: Books) -> list[str]:
    """Return what makes the accounts of *row* worthless."""
    found = []
    if len(books.returned) < row.count:
        found.append(f"logged {len(books.returned)} of {row.count} events")
    if row.repeated and not books.duplicated:
        found.append("nothing was sent twice")
    if books.invented:
        found.append(f"ODP saw what nobody logged: {books.invented}")
    return found


def _first(
    row: Row,
    outcome: Outcome,
    odp: Emulator,
    python: Python,
    settings: Mapping[str, object],
) -> Ended:
    """Run the program of *row*, with what happens to it, to its end."""
    arguments = (odp.url, *row.arguments)
    if row.fault:
        odp.fault(**row.fault)
    if row.down:
        odp.stop()
    with python.start(row.program, *arguments, **settings) as running:
        if row.ready:
            _at_ready(row, outcome, odp, running)
        ended = running.end()
    odp.start()
    odp.clear_faults()
    return ended


def _at_ready(row: Row, outcome: Outcome, odp: Emulator, running: Program) -> None:
    assert running.line() == "ready", running.end().err
    if row.mend:
        odp.start()
        odp.clear_faults()
        if outcome is Outcome.ALL:  # before its end
            assert odp.wait_for(row.count, 20)
    if row.signal:
        running.process.send_signal(row.signal)


def _next(
    odp: Emulator, python: Python, settings: Mapping[str, object], wanted: int
) -> list[str]:
    """Run the process after it, until ODP has all that is *wanted*."""
    with python.start("successor.py", odp.url, **settings) as running:
        odp.wait_for(wanted, 20)
        ended = running.end()
    return [] if (ended.status, ended.err) == (0, "") else [f"the next one: {ended}"]


def _ended_badly(row: Row, ended: Ended) -> list[str]:
    lines = [
        line
        for line in ended.err.splitlines(keepends=True)
        if not LOST.search(line) and not KEPT.search(line)
    ]
    said = "".join(lines)
    problems = []
    if ended.status != row.status or not re.fullmatch(row.says, said, re.DOTALL):
        problems.append(f"ended with {ended.status}: {said}")
    if ended.seconds > row.within:
        problems.append(f"took {ended.seconds:.1f} s")
    return problems


def _unsaid(outcome: Outcome, books: Books, ended: Ended) -> list[str]:
    """Return what the process says of what it loses or keeps, if it is not so."""
    kept = _sum(KEPT, ended.err)
    if outcome is Outcome.KEPT and kept != len(books.lost):
        return [f"{len(books.lost)} were not delivered, {kept} were said to be kept"]
    said = _said(books, ended)
    missing = sum(books.declared.get(name, "exit") in _AT_EXIT for name in books.lost)
    if outcome is Outcome.DECLARED and missing != said + kept:
        return [f"{missing} are missing, {said} were said to be lost, {kept} kept"]
    both = [name for name in books.declared if name in books.seen]
    return [f"declared and delivered: {both}"] if both else []


def _allowed(row: Row, column: Column, books: Books, ended: Ended) -> set[str]:
    """Return the ids that may be missing."""
    outcome = row.outcome(column)
    if outcome is Outcome.SINCE:
        kept = books.early | (books.holes if row.ordered else set())
        return set(books.lost) - kept
    if outcome is not Outcome.DECLARED:
        return set()
    lost = [name for name in books.lost if name not in books.declared]
    return set(books.declared) | set(lost[: _said(books, ended)])


def _said(books: Books, ended: Ended) -> int:
    """Return how many events the process says it loses, besides those it names."""
    return books.refused + _sum(LOST, ended.err)


def _sum(pattern: re.Pattern[str], text: str) -> int:
    return sum(int(all_of_them or some) for all_of_them, some in pattern.findall(text))


_AT_EXIT = ("exit", "in_doubt")
"""Reasons of `on_drop` for what the last line on stderr counts, too."""


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["event"]["data"]["idempotence_id"])
