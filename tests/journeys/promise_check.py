"""Run one row of the delivery table as a process, and check its promise by ids."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from odp_logging.emulator import Emulator

from .pythons import Program, ProgramResult, Python

_EXITING = r"exiting with (\d+) undelivered events? [^;\n]*; they are "
LOST = re.compile(_EXITING + r"lost|, (\d+) are lost")
KEPT = re.compile(_EXITING + r"kept|; (\d+) are kept")
"""Line on stderr at the end of a process: all events are kept or lost, or some."""


class Outcome(enum.Enum):
    """The promise of a row for one column."""

    ALL = "every event that a log call returned for is delivered, by its own process"
    DECLARED = "exactly the missing events were reported as lost"
    KEPT = (
        "the undelivered events are reported as kept, and the next process sends them"
    )
    FROM_DISK = "every event that a log call returned for is delivered at some time"
    SINCE = "only events logged after the last flush may be lost"


@dataclass(frozen=True)
class Column:
    """A kind of store: its heading, and the settings that select it."""

    name: str
    heading: str
    durability: str = ""

    def build_settings(self, folder: Path) -> dict[str, object]:
        """Return the settings for a spool in *folder*."""
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
    A program, the faults and signals it gets, and the promise for its events.

    Args:
        name: Name in the test id.
        label: Name in the table; rows of one promise may share it.
        command: File in `programs` and its arguments after the first, the URL of ODP.
        count: Minimum number of events that the program logs.
        outcomes: The promise for each column.
        fault: Fault of ODP until the next process, or until the program is ready.
        down: Whether ODP is down for the same time.
        recovers: Whether ODP works again when the program prints "ready".
        signal: Signal sent when the program prints "ready"; 0 for none.
        status: Exit status of the program; by default it dies of the signal.
        says: Pattern for its stderr.
        within: Longest run on a busy machine, in seconds.
        ordered: Whether the events of each thread arrive in order.
        repeated: Whether ODP may receive an id twice.
        spooled: More settings for the columns with a spool.
    """

    name: str
    label: str
    command: str
    count: int
    outcomes: tuple[Outcome, Outcome, Outcome]
    fault: Mapping[str, Any] | None = None
    down: bool = False
    recovers: bool = False
    signal: int = 0
    status: int | None = None
    says: str = ""
    within: float = 15.0
    ordered: bool = True
    repeated: bool = False
    spooled: Mapping[str, object] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """The file of its program."""
        return self.command.split()[0]

    @property
    def arguments(self) -> list[str]:
        """The arguments of its program after the URL of ODP."""
        return self.command.split()[1:]

    @property
    def exit_status(self) -> int:
        """The exit status of its program."""
        return -self.signal if self.status is None else self.status

    def get_outcome(self, column: Column) -> Outcome:
        """Return the promise for *column*."""
        return self.outcomes[COLUMNS.index(column)]


@dataclass(frozen=True)
class Result:
    """The outcome of a run; the promise holds if *problems* is empty."""

    problems: tuple[str, ...]
    lost: int
    duplicated: int
    reordered: int


class LedgerComparison:
    """The events in the ledger of a program, compared with those that ODP received."""

    def __init__(self, ledger: Path, odp: Emulator) -> None:
        self.tried: dict[str, str] = {}
        self.returned: list[str] = []
        self.declared: dict[str, str] = {}
        self.rejected = 0
        self.flushed: set[str] = set()  # returned before the last flush
        for line in ledger.read_text().splitlines() if ledger.exists() else ():
            self._read(*line.split(" "))
        entries = odp.events()
        accepted = [entry for entry in entries if entry["status"] == "accepted"]
        self.seen = {_get_id(entry): index for index, entry in enumerate(accepted)}
        self.duplicated = sum(entry["status"] == "duplicate" for entry in entries)

    def _read(self, word: str, name: str, source: str) -> None:
        if word == "tried":
            self.tried[name] = source
        elif word == "returned":
            self.returned.append(name)
        elif word == "declared":
            self.declared[name] = source
        elif word == "rejected":
            self.rejected += int(name)
        elif word == "mark":
            self.flushed = set(self.returned)

    @property
    def lost(self) -> list[str]:
        """Ids that ODP did not receive although their log calls returned."""
        return [name for name in self.returned if name not in self.seen]

    @property
    def unknown(self) -> list[str]:
        """Ids that ODP received although no program logged them."""
        return [name for name in self.seen if name not in self.tried]

    @property
    def reordered(self) -> int:
        """Number of events that arrived after a later event of the same source."""
        orders = (
            [self.seen[n] for n in names if n in self.seen] for names in self._sources()
        )
        return sum(a > b for order in orders for a, b in pairwise(order))

    @property
    def holes(self) -> set[str]:
        """Lost ids for which a later event of the same source arrived."""
        delivered_parts = (
            names[: max((i for i, n in enumerate(names) if n in self.seen), default=0)]
            for names in self._sources()
        )
        return {name for names in delivered_parts for name in names} & {*self.lost}

    def _sources(self) -> Iterable[list[str]]:
        sources: dict[str, list[str]] = {}
        for name, source in self.tried.items():
            if source:
                sources.setdefault(source, []).append(name)
        return sources.values()


def run(row: Row, column: Column, python: Python, folder: Path) -> Result:
    """Run *row* in *folder*, and the next process if events may be kept."""
    ledger = folder / "ledger"
    settings = {
        "test_run": f"{row.name.replace(' ', '-')}-{column.name}-{python.version}",
        "test_ledger": ledger,
        **column.build_settings(folder),
    }
    if column.durability:
        settings |= row.spooled
    outcome = row.get_outcome(column)
    with Emulator() as odp:
        ended = _run_program(row, outcome, odp, python, settings)
        first = LedgerComparison(ledger, odp)
        problems = [*_check_end(row, ended), *_check_report(outcome, first, ended)]
        if column.durability:
            wanted = len(
                set(first.returned) - _find_allowed_losses(row, column, first, ended)
            )
            problems += _run_successor(odp, python, settings, wanted)
        comparison = LedgerComparison(ledger, odp)
    final = first if outcome is Outcome.ALL else comparison
    lost = len(set(final.lost) - _find_allowed_losses(row, column, final, ended))
    duplicated = 0 if row.repeated else comparison.duplicated
    reordered = comparison.reordered if row.ordered else 0
    if lost:
        problems.append(f"{lost} lost without a report, of {comparison.lost[:5]} …")
    if duplicated:
        problems.append(f"{duplicated} sent twice")
    if reordered:
        problems.append(f"{reordered} out of order")
    problems += _check_evidence(row, comparison)
    return Result(tuple(problems), lost, duplicated, reordered)


def _check_evidence(row: Row, comparison: LedgerComparison) -> list[str]:
    """Return reasons why the run of *row* proves nothing."""
    problems = []
    if len(comparison.returned) < row.count:
        problems.append(f"logged {len(comparison.returned)} of {row.count} events")
    if row.repeated and not comparison.duplicated:
        problems.append("nothing was sent twice")
    if comparison.unknown:
        problems.append(f"ODP received ids that were not logged: {comparison.unknown}")
    return problems


def _run_program(
    row: Row,
    outcome: Outcome,
    odp: Emulator,
    python: Python,
    settings: Mapping[str, object],
) -> ProgramResult:
    """Run the program of *row* to its end, with the fault and signal of the row."""
    arguments = (odp.url, *row.arguments)
    if row.fault:
        odp.fault(**row.fault)
    if row.down:
        odp.stop()
    with python.start(row.program, *arguments, **settings) as running:
        if row.recovers or row.signal:
            _apply_at_ready(row, outcome, odp, running)
        ended = running.end()
    odp.start()
    odp.clear_faults()
    return ended


def _apply_at_ready(
    row: Row, outcome: Outcome, odp: Emulator, running: Program
) -> None:
    assert running.read_line() == "ready", running.end().err
    if row.recovers:
        odp.start()
        odp.clear_faults()
        if outcome is Outcome.ALL:  # while the program still runs
            assert odp.wait_for(row.count, 20)
    if row.signal:
        running.process.send_signal(row.signal)


def _run_successor(
    odp: Emulator, python: Python, settings: Mapping[str, object], wanted: int
) -> list[str]:
    """Run the next process until ODP has received *wanted* events."""
    with python.start("successor.py", odp.url, **settings) as running:
        odp.wait_for(wanted, 20)
        ended = running.end()
    return (
        [] if (ended.status, ended.err) == (0, "") else [f"the next process: {ended}"]
    )


def _check_end(row: Row, ended: ProgramResult) -> list[str]:
    lines = [
        line
        for line in ended.err.splitlines(keepends=True)
        if not LOST.search(line) and not KEPT.search(line)
    ]
    other_lines = "".join(lines)
    problems = []
    if ended.status != row.exit_status or not re.fullmatch(
        row.says, other_lines, re.DOTALL
    ):
        problems.append(f"ended with {ended.status}: {other_lines}")
    if ended.seconds > row.within:
        problems.append(f"took {ended.seconds:.1f} s")
    return problems


def _check_report(
    outcome: Outcome, comparison: LedgerComparison, ended: ProgramResult
) -> list[str]:
    """Return the errors in the process's report of lost and kept events."""
    kept = _sum_matches(KEPT, ended.err)
    if outcome is Outcome.KEPT and kept != len(comparison.lost):
        return [
            f"{len(comparison.lost)} were not delivered, {kept} were reported as kept"
        ]
    lost = _count_reported_losses(comparison, ended)
    missing = sum(
        comparison.declared.get(name, "exit") in _AT_EXIT for name in comparison.lost
    )
    if outcome is Outcome.DECLARED and missing != lost + kept:
        return [f"{missing} are missing, {lost} were reported as lost, {kept} kept"]
    delivered = [name for name in comparison.declared if name in comparison.seen]
    return [f"declared and delivered: {delivered}"] if delivered else []


def _find_allowed_losses(
    row: Row, column: Column, comparison: LedgerComparison, ended: ProgramResult
) -> set[str]:
    """Return the ids that may be missing under the promise of *row*."""
    outcome = row.get_outcome(column)
    if outcome is Outcome.SINCE:
        required = comparison.flushed | (comparison.holes if row.ordered else set())
        return set(comparison.lost) - required
    if outcome is not Outcome.DECLARED:
        return set()
    lost = [name for name in comparison.lost if name not in comparison.declared]
    return set(comparison.declared) | set(
        lost[: _count_reported_losses(comparison, ended)]
    )


def _count_reported_losses(comparison: LedgerComparison, ended: ProgramResult) -> int:
    """Return the number of losses that the process reports without naming ids."""
    return comparison.rejected + _sum_matches(LOST, ended.err)


def _sum_matches(pattern: re.Pattern[str], text: str) -> int:
    return sum(int(all_events or some) for all_events, some in pattern.findall(text))


_AT_EXIT = ("exit", "in_doubt")
"""Reasons of `on_drop` that the last line on stderr counts as well."""


def _get_id(entry: Mapping[str, Any]) -> str:
    return str(entry["event"]["data"]["idempotence_id"])
