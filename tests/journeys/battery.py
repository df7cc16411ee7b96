"""Run the rows of the delivery table as programs, and write the table.

``python -m tests.journeys.battery`` runs every row on every CPython of this machine and
rewrites the table. With ``--check`` it runs nothing and compares the table with the
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

from . import promise_check
from .promise_check import COLUMNS, Column, Outcome, Result, Row
from .pythons import FOUND, ROOT, Python, prepare_python

PAGE = ROOT / "examples" / "guarantees" / "README.md"
STORED = Path(__file__).with_suffix(".json")
BEGIN = "<!-- written by python -m tests.journeys.battery -->"
END = "<!-- end of what it wrote -->"

# Also for the promise "delivered or kept", because ODP answers in these rows.
ALL = (Outcome.ALL,) * 3
DECLARED = (Outcome.DECLARED,) * 3
SINCE = (Outcome.SINCE, Outcome.SINCE, Outcome.FROM_DISK)
DOWN = {"status": 503}

# Labels and commands of several rows.
AT_EXIT = "atexit callbacks that log"
CLOSED = "a handler closed and then used"
WAIT = "wait_for_signal.py"
HOLD = "wait_for_requests.py"
OFTEN = "flush_interval=0.01 max_retry_delay=0.1"


@dataclass(frozen=True)
class Promise:
    """A line of the table: its rows, and the promise in each column."""

    words: tuple[str, str, str]
    rows: tuple[Row, ...]


PROMISES = (
    Promise(
        (
            "all delivered, as long as events leave: see `shutdown_timeout`",
            "all delivered or kept",
            "all delivered or kept",
        ),
        (
            Row("return", "normal exit", "end.py return", 5, ALL),
            Row("sys.exit", "`sys.exit`", "end.py status", 5, ALL, status=3),
            Row(
                "uncaught",
                "an uncaught exception",
                "end.py uncaught",
                5,
                ALL,
                status=1,
                says="Traceback.*ValueError: the application's own\n",
            ),
            Row("atexit", AT_EXIT, "at_exit.py", 3, ALL),
            Row("atexit after events", AT_EXIT, "at_exit.py busy", 4, ALL),
            Row(
                "threads outlive main",
                "threads that outlive the main one",
                "end.py outlived",
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
                "end.py daemons",
                20,
                SINCE,
                within=4,
                ordered=False,  # after the last drain two threads send
            ),
        ),
    ),
    Promise(
        ("delivered, or counted on stderr", "delivered, kept or counted", "same"),
        (
            Row(
                "__del__",
                "`__del__` that logs while Python is taken apart",
                "finalizer.py",
                2,
                DECLARED,
            ),
        ),
    ),
    Promise(
        (
            "each event once; events of the flusher thread are rejected and counted",
            "same",
            "same",
        ),
        (
            Row("signal handlers", "signal handlers", "log_in_alarm.py", 5200, ALL),
            Row(
                "gc callbacks",
                "gc callbacks that log within log calls",
                "log_in_gc.py",
                2000,
                DECLARED,
                says=".*in_callback.*|.*within a callback.*|",
            ),
        ),
    ),
    Promise(
        ("each event exactly once, from its own process", "same", "same"),
        (
            Row("fork exit", "`os.fork`", "fork_once.py exit", 4, ALL),
            Row("fork _exit", "`os.fork`", "fork_once.py _exit", 4, ALL),
            Row(
                "daemon",
                "a daemon that flushes before it forks twice",
                "daemonize.py",
                6,
                ALL,
            ),
            Row("fork storm", "`os.fork` amid log calls", "fork_storm.py", 164, ALL),
            *(
                Row(
                    f"{kind} {method}",
                    "`multiprocessing` and its pools by fork, spawn or forkserver",
                    f"multiprocessing_pools.py {kind} {method}",
                    4,
                    ALL,
                )
                for kind in ("process", "pool", "executor")
                for method in ("fork", "spawn", "forkserver")
            ),
        ),
    ),
    Promise(
        ("delivered, and the process still ends as it would", "same", "same"),
        (
            Row("SIGTERM", "SIGTERM", WAIT, 3, ALL, signal=signal.SIGTERM),
            Row(
                "SIGTERM in a log call",
                "SIGTERM",
                "log_until_signal.py",
                100,
                ALL,
                signal=signal.SIGTERM,
            ),
            *(
                Row(signum.name, "SIGHUP, SIGQUIT", WAIT, 3, ALL, signal=signum)
                for signum in (signal.SIGHUP, signal.SIGQUIT)
            ),
            *(
                Row(
                    f"SIGTERM handled {when}",
                    "SIGTERM that the application handles",
                    f"{WAIT} handled-{when}",
                    4,
                    ALL,
                    signal=signal.SIGTERM,
                    status=7,
                )
                for when in ("before", "after")
            ),
            Row(
                "SIGINT",
                "Ctrl-C",
                WAIT,
                3,
                ALL,
                signal=signal.SIGINT,
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
                    f"{HOLD} 30 2 {OFTEN}",
                    30,
                    ALL,
                    fault=DOWN if how == "503" else None,
                    down=how == "refused",
                    recovers=True,
                    says=".*next attempt.*",
                )
                for how in ("503", "refused")
            ),
        ),
    ),
    Promise(
        (
            "the oldest dropped, counted, passed to `on_drop`, one line a minute",
            "kept on disk up to `spool_max_bytes`",
            "same",
        ),
        (
            Row(
                "long outage",
                "ODP down for longer",
                f"{HOLD} 60 2 {OFTEN} max_queue_size=20 max_batch_size=10",
                60,
                (Outcome.DECLARED, Outcome.FROM_DISK, Outcome.FROM_DISK),
                fault=DOWN,
                recovers=True,
                says=".*",
                ordered=False,
                spooled={"overflow": "block", "block_timeout": 10},
            ),
        ),
    ),
    Promise(
        (
            "counted, and reported once on stderr, within `shutdown_timeout` + 0.5 s",
            "kept, sent by the next process",
            "same",
        ),
        (
            *(
                Row(
                    f"down at exit {how}",
                    "ODP down at exit",
                    f"{HOLD} 20 0 shutdown_timeout=0.3",
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
                f"{HOLD} 10 2 {OFTEN}",
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
            *(
                Row(
                    name,
                    "`kill -9`, out of memory",
                    command,
                    count,
                    SINCE,
                    signal=signal.SIGKILL,
                )
                for name, command, count in (
                    ("kill -9", "end_abruptly.py kill", 70),
                    ("kill -9 in a log call", "log_until_signal.py", 100),
                )
            ),
            *(
                Row(
                    f"os.{how}",
                    "`os._exit` and `os.execv` of the first process",
                    f"end_abruptly.py {how}",
                    70,
                    SINCE,
                )
                for how in ("_exit", "execv")
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
                f"{HOLD} 10 1 flush_interval=0.1",
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
                    f"configure.py {interval}",
                    6,
                    ALL,
                    ordered=False,  # the old and the new handler send
                )
                for interval in ("60", "0.01")
            ),
            Row("closed twice", CLOSED, "end.py closed-twice", 6, ALL),
            Row("shutdown", CLOSED, "end.py shutdown", 6, ALL),
            Row(
                "collected", "a handler without references", "end.py collected", 5, ALL
            ),
        ),
    ),
)
ROWS = tuple(row for promise in PROMISES for row in promise.rows)


def build_table(stored: Mapping[str, Any]) -> str:
    """Return the table of the promises with the *stored* results."""
    heads = ["what happens", *(column.heading for column in COLUMNS)]
    lines = [_format_row(heads), _format_row(["---"] * len(heads))]
    for promise in PROMISES:
        cells = [
            f"{words} ✓" if _is_held(promise, column, stored) else words
            for words, column in zip(promise.words, COLUMNS)
        ]
        lines.append(_format_row([_format_links(promise), *cells]))
    return "\n".join([BEGIN, "", *lines, "", _format_summary(stored), "", END])


def find_table(page: str) -> str:
    """Return the part of *page* that was written by `build_table`."""
    start, end = page.index(BEGIN), page.index(END) + len(END)
    return page[start:end]


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _is_held(promise: Promise, column: Column, stored: Mapping[str, Any]) -> bool:
    return all(row.name in stored["held"][column.name] for row in promise.rows)


def _format_links(promise: Promise) -> str:
    """Return the row names, each with a link to its program."""
    folder = Path("../../tests/journeys/programs")
    programs = {row.label: row.program for row in reversed(promise.rows)}
    names = dict.fromkeys(row.label for row in promise.rows)
    return ", ".join(
        f"[{', '.join(those)}]({(folder / program).as_posix()})"
        for program, those in groupby(names, programs.__getitem__)
    )


def _format_summary(stored: Mapping[str, Any]) -> str:
    pythons = ", ".join(stored["pythons"])
    text = (
        f"[{stored['runs']} runs](../../tests/journeys/battery.py) on CPython"
        f" {pythons}, accounted for by idempotence id: {stored['lost']} lost without a"
        f" report, {stored['duplicated']} delivered twice, {stored['reordered']} out of"
        " order where the table does not say so. ✓ stands where every run held;"
        " `python -m tests.journeys.battery` runs them again."
    )
    return textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False)


Case = tuple[Row, Column, Python]


def main(arguments: Sequence[str]) -> int:
    """Run the battery and rewrite the page's table, or only compare the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.journeys.battery")
    parser.add_argument("--check", action="store_true", help="run nothing, compare")
    check = parser.parse_args(arguments).check
    bad = 0 if check else _run_all()
    page = PAGE.read_text(encoding="utf-8")
    new = page.replace(find_table(page), build_table(json.loads(STORED.read_text())))
    if check:
        print("the page is what it should be" if new == page else "the page differs")
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return int(bad > 0)


def _run_all() -> int:
    """Run every row, store the results, and return the number of failures."""
    started = time.monotonic()
    cache = ROOT / ".pytest_cache" / "d" / "pythons"
    pythons = [prepare_python(version, cache) for version in FOUND]
    cases = [
        (row, column, python)
        for row in ROWS
        for column in COLUMNS
        for python in pythons
    ]
    with ThreadPoolExecutor(2) as pool:
        results = list(_print_results(cases, pool.map(_run, cases)))
    stored = _summarize(cases, results)
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
    bad = sum(bool(result.problems) for result in results)
    seconds = time.monotonic() - started
    print(f"{len(cases)} runs in {seconds:.0f} s, {bad} of them bad")
    return bad


def _run(case: Case) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return promise_check.run(*case, Path(folder))
        except Exception as error:  # counted as a failure; the other rows go on
            return Result((f"{type(error).__name__}: {error}",), 0, 0, 0)


def _print_results(
    cases: Sequence[Case], results: Iterator[Result]
) -> Iterator[Result]:
    """Yield *results*, and print one line for each."""
    for number, (case, result) in enumerate(zip(cases, results), 1):
        row, column, python = case
        word = "; ".join(result.problems) or "held"
        name = f"{row.name}, {column.name}, {python.version}"
        print(f"{number:4}/{len(cases)}  {name}: {word}", flush=True)
        yield result


def _summarize(cases: Sequence[Case], results: Sequence[Result]) -> dict[str, Any]:
    """Return the results to store, without dates, machine names or random values."""
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
