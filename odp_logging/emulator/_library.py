"""What libraries report of themselves: their log lines, and how many events wait.

`odp_logging` sends it to an emulator on its own machine. So the page also shows events
that never left the process, and why.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

KEPT_LINES = 500
KEPT_PROCESSES = 20

_MAX_LINES_PER_REPORT = 100
_MAX_TEXT_CHARACTERS = 1_000
_MAX_NAME_CHARACTERS = 60
_MAX_COUNTS = 20


class ReportError(ValueError):
    """A report cannot be read; the message says what is expected."""


class LibraryLog:
    """The latest lines, and the latest counts of each process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._version = 0
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._processes: dict[str, dict[str, Any]] = {}

    def record(self, report: Any) -> None:
        """
        Keep the lines and counts of *report*.

        Raises:
            ReportError: It cannot be read.
        """
        if not isinstance(report, dict):
            raise ReportError("the body must be a JSON object")
        process = _read_text(report.get("process"), _MAX_NAME_CHARACTERS)
        lines = report.get("lines", [])
        if not process or not isinstance(lines, list):
            raise ReportError("process must be a text, and lines a list")
        parsed = [_read_line(line) for line in lines[-_MAX_LINES_PER_REPORT:]]
        counts = _read_counts(report.get("counts", {}))
        with self._lock:
            self._version += 1
            for line in parsed:
                self._last += 1
                self._lines.append({"n": self._last, "process": process, **line})
            # Removed first, so that the dict is in the order of the last reports.
            self._processes.pop(process, None)
            self._processes[process] = {"time": time.time(), "counts": counts}
            while len(self._processes) > KEPT_PROCESSES:
                del self._processes[next(iter(self._processes))]

    def list_lines(self) -> list[dict[str, Any]]:
        """Return the kept lines, oldest first."""
        with self._lock:
            return [dict(line) for line in self._lines]

    def get_news(self, version: int) -> tuple[int, dict[str, Any] | None]:
        """Return the current version, and all that is kept if *version* is older."""
        with self._lock:
            if version == self._version:
                return version, None
            kept = {"lines": list(self._lines), "processes": dict(self._processes)}
            return self._version, kept

    def clear(self) -> None:
        """Forget all lines and processes; serials continue."""
        with self._lock:
            self._version += 1
            self._lines.clear()
            self._processes.clear()


def _read_line(line: Any) -> dict[str, Any]:
    if not isinstance(line, dict):
        raise ReportError("a line must be a JSON object")
    return {
        "time": _read_time(line.get("time")),
        "kind": _read_text(line.get("kind"), _MAX_NAME_CHARACTERS),
        "text": _read_text(line.get("text"), _MAX_TEXT_CHARACTERS),
    }


def _read_time(value: Any) -> float:
    # Not a bool, and nothing that JavaScript shows as an invalid date.
    is_time = type(value) in (int, float) and 0 <= value < 1e11
    return float(value) if is_time else time.time()


def _read_text(value: Any, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _read_counts(counts: Any) -> dict[str, int]:
    if not isinstance(counts, dict):
        raise ReportError("counts must be a JSON object")
    return {
        name[:_MAX_NAME_CHARACTERS]: value
        for name, value in list(counts.items())[:_MAX_COUNTS]
        if type(value) is int and 0 <= value < 2**53
    }
