"""The promise, row by row, as programs; its table in README; the command for both.

``python -m tests.journeys.battery`` runs every row on every CPython of this machine and
rewrites the table; with ``--check`` it runs nothing and compares the table with the
results stored beside this file.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from . import accounts
from .accounts import COLUMNS, Column, Outcome, Result, Row
from .pythons import FOUND, ROOT, Python, ready

README = ROOT / "README.md"
STORED = Path(__file__).with_suffix(".json")
BEGIN = "<!-- written by python -m tests.journeys.battery -->"
END = "<!-- end of what it wrote -->"

# Also where the promise is "delivered or kept": ODP answers in these rows.
ALL = (Outcome.ALL,) * 3
DECLARED = (Outcome.DECLARED,) * 3
DOWN = {"status": 503}
METHODS = ("fork", "spawn", "forkserver")


@dataclass(frozen=True)
class Promise:
    """A line of README's table: rows, and in each column what becomes of events."""

    words: tuple[str, str, str]
    rows: tuple[Row, ...]


PROMISES = (
    Promise(
        (
            "all delivered within `shutdown_timeout`",
            "all delivered or kept",
            "all delivered or kept",
        ),
        (
            Row("return", "normal exit", "end.py", ("return",), 5, ALL),
            Row("sys.exit", "`sys.exit`", "end.py", ("status",), 5, ALL, status=3),
            Row(
                "uncaught",
                "an uncaught exception",
                "end.py",
                ("uncaught",),
                5,
                ALL,
                status=1,
                says="Traceback.*ValueError: the application's own\n",
            ),
            Row("atexit", "atexit callbacks that log", "at_exit.py", (), 3, ALL),
            Row(
                "atexit after events",
                "atexit callbacks that log",
                "at_exit.py",
                ("busy",),
                4,
                ALL,
            ),
            Row(
                "threads outlive main",
                "threads that outlive the main one",
                "end.py",
                ("outlived",),
                6,
                ALL,
            ),
        ),
    ),
    Promise(
        (
            "delivered if logged before the end",
            "same",
            "all that a log call returned for, delivered or kept",
        ),
        (
            Row(
                "daemon threads",
                "daemon threads that log to the very end",
                "end.py",
                ("daemons",),
                20,
                (Outcome.SINCE, Outcome.SINCE, Outcome.FROM_DISK),
                within=4,
                ordered=False,  # two threads send what comes after the last drain
            ),
        ),
    ),
    Promise(
        ("delivered, or counted on stderr", "delivered, kept or counted", "same"),
        (
            Row(
                "__del__",
                "`__del__` that logs while Python is taken apart",
                "finaliser.py",
                (),
                2,
                DECLARED,
            ),
        ),
    ),
    Promise(
        (
            "each event once; what interrupts our own thread is rejected and counted",
            "same",
            "same",
        ),
        (
            Row("signal handlers", "signal handlers", "alarm.py", (), 5200, ALL),
            Row(
                "gc callbacks",
                "gc callbacks that log within log calls",
                "collector.py",
                (),
                2000,
                DECLARED,
                says=".*in_callback.*|.*within a callback.*|",
            ),
        ),
    ),
    Promise(
        ("each event exactly once, from its own process", "same", "same"),
        (
            Row("fork exit", "`os.fork`", "fork.py", ("exit",), 4, ALL),
            Row("fork _exit", "`os.fork`", "fork.py", ("_exit",), 4, ALL),
            Row(
                "fork storm", "`os.fork` amid log calls", "fork_storm.py", (), 164, ALL
            ),
            *(
                Row(
                    f"{kind} {method}",
                    "`multiprocessing` and its pools by fork, spawn or forkserver",
                    "processes.py",
                    (kind, method),
                    4,
                    ALL,
                )
                for kind in ("process", "pool", "executor")
                for method in METHODS
            ),
        ),
    ),
    Promise(
        ("delivered, and the process still ends as it would", "same", "same"),
        (
            Row(
                "SIGTERM",
                "SIGTERM",
                "wait.py",
                ("",),
                3,
                ALL,
                ready=True,
                signal=signal.SIGTERM,
                status=-signal.SIGTERM,
            ),
            Row(
                "SIGTERM in a log call",
                "SIGTERM",
                "loop.py",
                (),
                100,
                ALL,
                ready=True,
                signal=signal.SIGTERM,
                status=-signal.SIGTERM,
            ),
            *(
                Row(
                    f"SIGTERM {when}",
                    "SIGTERM that the application handles",
                    "wait.py",
                    (when,),
                    4,
                    ALL,
                    ready=True,
                    signal=signal.SIGTERM,
                    status=7,
                )
                for when in ("handled before", "handled after")
            ),
            Row(
                "SIGINT",
                "Ctrl-C",
                "wait.py",
                ("warm",),
                4,
                ALL,
                ready=True,
                signal=signal.SIGINT,
                status=-signal.SIGINT,
                says=".*KeyboardInterrupt\n",
            ),
        ),
    ),
    Promise(
        ("all delivered when it is back", "same", "same"),
        (
            *(
                Row(
                    f"short outage {how}",
                    "ODP down for less than the buffer holds",
                    "hold.py",
                    ("30", "2", "flush_interval=0.01", "max_retry_delay=0.1"),
                    30,
                    ALL,
                    fault=DOWN if how == "503" else None,
                    down=how == "refused",
                    ready=True,
                    mend=True,
                    says=".*next attempt.*",
                )
                for how in ("503", "refused")
            ),
        ),
    ),
    Promise(
        (
            "the oldest dropped, counted, told to `on_drop`, one line a minute",
            "kept on disk up to `spool_max_bytes`",
            "same",
        ),
        (
            Row(
                "long outage",
                "ODP down for longer",
                "hold.py",
                (
                    "60",
                    "2",
                    "flush_interval=0.01",
                    "max_retry_delay=0.1",
                    "max_queue_size=20",
                    "max_batch_size=10",
                ),
                60,
                (Outcome.DECLARED, Outcome.FROM_DISK, Outcome.FROM_DISK),
                fault=DOWN,
                ready=True,
                mend=True,
                says=".*",
                ordered=False,
                spooled={"overflow": "block", "block_timeout": 10},
            ),
        ),
    ),
    Promise(
        (
            "counted, and said once on stderr, within `shutdown_timeout` + 0.5 s",
            "kept, sent by the next process",
            "same",
        ),
        (
            *(
                Row(
                    f"down at exit {how}",
                    "ODP down at exit",
                    "hold.py",
                    ("20", "0", "shutdown_timeout=0.3"),
                    20,
                    (Outcome.DECLARED, Outcome.KEPT, Outcome.KEPT),
                    fault=None if how == "refused" else {**DOWN, "latency": latency},
                    down=how == "refused",
                    says="(.*next attempt.*)?",
                )
                for how, latency in (("503", 0.0), ("refused", 0.0), ("hanging", 60.0))
            ),
        ),
    ),
    Promise(
        (
            "all delivered, some sent twice with the same `idempotence_id`",
            "same",
            "same",
        ),
        (
            Row(
                "answer lost",
                "an answer of ODP's is lost",
                "hold.py",
                ("10", "2", "flush_interval=0.01", "max_retry_delay=0.1"),
                10,
                ALL,
                fault={"drop": "after", "count": 1},
                says=".*next attempt.*",
                repeated=True,
            ),
        ),
    ),
    Promise(
        (
            "what was buffered is lost",
            "what was buffered is lost",
            "nothing that a log call returned for",
        ),
        (
            Row(
                "kill -9",
                "`kill -9`, out of memory",
                "cut_off.py",
                ("kill",),
                70,
                (Outcome.SINCE, Outcome.SINCE, Outcome.FROM_DISK),
                ready=True,
                signal=signal.SIGKILL,
                status=-signal.SIGKILL,
            ),
            Row(
                "kill -9 in a log call",
                "`kill -9`, out of memory",
                "loop.py",
                (),
                100,
                (Outcome.SINCE, Outcome.SINCE, Outcome.FROM_DISK),
                ready=True,
                signal=signal.SIGKILL,
                status=-signal.SIGKILL,
            ),
            Row(
                "os._exit",
                "`os._exit`",
                "cut_off.py",
                ("_exit",),
                70,
                (Outcome.SINCE, Outcome.SINCE, Outcome.FROM_DISK),
            ),
        ),
    ),
    Promise(
        (
            "only that one is rejected, with its reason",
            "and kept as a dead letter",
            "same",
        ),
        (
            Row(
                "bad event",
                "one bad event in a batch",
                "hold.py",
                ("10", "1", "flush_interval=0.1"),
                10,
                DECLARED,
                fault={"match": ':3"'},
                says=".*rejected 1 of.*",
            ),
        ),
    ),
    Promise(
        ("works, nothing lost, nothing waits", "same", "same"),
        (
            *(
                Row(
                    f"dictConfig twice {interval}",
                    "`dictConfig` again",
                    "configure.py",
                    (interval,),
                    6,
                    ALL,
                    ordered=False,  # the old handler's and the new one's
                )
                for interval in ("60", "0.01")
            ),
            *(
                Row(
                    how,
                    "a handler closed and then used",
                    "end.py",
                    (how,),
                    6,
                    ALL,
                )
                for how in ("closed twice", "shutdown")
            ),
            Row(
                "collected",
                "a handler that nobody holds",
                "end.py",
                ("collected",),
                5,
                ALL,
            ),
        ),
    ),
)
ROWS = tuple(row for promise in PROMISES for row in promise.rows)


def table(stored: Mapping[str, Any]) -> str:
    """Return what README shows of the promises and of the *stored* results."""
    heads = ["what happens", *(column.heading for column in COLUMNS)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for promise in PROMISES:
        cells = [
            f"{words} ✓" if _held(promise, column, stored) else words
            for words, column in zip(promise.words, COLUMNS)
        ]
        lines.append(_line([_linked(promise), *cells]))
    return "\n".join([BEGIN, "", *lines, "", _summary(stored), "", END])


def shown(readme: str) -> str:
    """Return the part of *readme* that `table` has written."""
    start, end = readme.index(BEGIN), readme.index(END) + len(END)
    return readme[start:end]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _held(promise: Promise, column: Column, stored: Mapping[str, Any]) -> bool:
    return all(row.name in stored["held"][column.name] for row in promise.rows)


def _linked(promise: Promise) -> str:
    """Return the names of the rows, each with a link to its program."""
    folder = Path(__file__).parent.relative_to(ROOT) / "programs"
    programs = {row.shown: row.program for row in reversed(promise.rows)}
    names = dict.fromkeys(row.shown for row in promise.rows)
    return ", ".join(
        f"[{', '.join(those)}]({(folder / program).as_posix()})"
        for program, those in groupby(names, programs.__getitem__)
    )


def _summary(stored: Mapping[str, Any]) -> str:
    pythons = ", ".join(stored["pythons"])
    text = (
        f"[{stored['runs']} runs](tests/journeys/battery.py) on CPython {pythons},"
        f" accounted for by idempotence id: {stored['lost']} lost without a word,"
        f" {stored['duplicated']} delivered twice, {stored['reordered']} out of order"
        " where the table does not say so. ✓ stands where every run held;"
        " `python -m tests.journeys.battery` runs them again."
    )
    return textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False)


Case = tuple[Row, Column, Python]


def main(arguments: Sequence[str]) -> int:
    """Run the battery and rewrite README's table, or compare it."""
    parser = argparse.ArgumentParser(prog="python -m tests.journeys.battery")
    parser.add_argument("--check", action="store_true", help="run nothing, compare")
    check = parser.parse_args(arguments).check
    bad = 0 if check else _run_all()
    readme = README.read_text(encoding="utf-8")
    new = readme.replace(shown(readme), table(json.loads(STORED.read_text())))
    if check:
        print("README is what it should be" if new == readme else "README differs")
        return int(new != readme)
    README.write_text(new, encoding="utf-8")
    return int(bad > 0)


def _run_all() -> int:
    """Run every row, store the results, and return how many did not hold."""
    started = time.monotonic()
    cache = ROOT / ".pytest_cache" / "d" / "pythons"
    pythons = [ready(version, cache) for version in FOUND]
    cases = [
        (row, column, python)
        for row in ROWS
        for column in COLUMNS
        for python in pythons
    ]
    with ThreadPoolExecutor(2) as pool:
        results = list(_told(cases, pool.map(_run, cases)))
    stored = _summed(cases, results)
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
    bad = sum(bool(result.problems) for result in results)
    seconds = time.monotonic() - started
    print(f"{len(cases)} runs in {seconds:.0f} s, {bad} of them bad")
    return bad


def _run(case: Case) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return accounts.run(*case, Path(folder))
        except Exception as error:  # one more that did not hold; the others go on
            return Result((f"{type(error).__name__}: {error}",), 0, 0, 0)


def _told(cases: Sequence[Case], results: Iterator[Result]) -> Iterator[Result]:
    """Yield *results*, and print a line for each."""
    for number, (case, result) in enumerate(zip(cases, results), 1):
        row, column, python = case
        word = "; ".join(result.problems) or "held"
        name = f"{row.name}, {column.name}, {python.version}"
        print(f"{number:4}/{len(cases)}  {name}: {word}", flush=True)
        yield result


def _summed(cases: Sequence[Case], results: Sequence[Result]) -> dict[str, Any]:
    """Return what is stored: no dates, no machines, nothing that chance decides."""
    names = [(row.name, column.name) for row, column, _ in cases]
    bad = {name for name, result in zip(names, results) if result.problems}
    held = {*names} - bad
    minors = dict.fromkeys(python.minor for _, _, python in cases)
    return {
        "pythons": [f"{major}.{minor}" for major, minor in minors],
        "runs": len(results),
        "lost": sum(result.lost for result in results),
        "duplicated": sum(result.duplicated for result in results),
        "reordered": sum(result.reordered for result in results),
        "held": {
            column.name: [row.name for row in ROWS if (row.name, column.name) in held]
            for column in COLUMNS
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
