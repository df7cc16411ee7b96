"""Report the library's own state: one line a minute for each kind of message.

All parts of the library report through a `Diagnostics` object. Its lines go to the
logger ``odp_logging``, or to stderr if no handler shows them.
"""

from __future__ import annotations

import itertools
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TextIO

from .lock import OwnedLock, is_main_thread, monotonic

LOGGER = logging.getLogger("odp_logging")

# As many as an emulator takes in one report.
_MAX_RECENT_LINES = 100

INTERVAL = 60.0
"""Seconds in which further lines of the same kind are counted instead of written."""

_MAX_LOCATIONS = 100
"""Log calls with a rate limit of their own, over all kinds; they take about 30 kB."""

_LOCK_TIMEOUT_SECONDS = 1.0
"""Longest wait for another thread's line. A handler of the application may block while
it writes, and the other threads that report must go on."""


class ReportedLine(NamedTuple):
    """A line that was written: when, in epoch seconds, of which kind, and its text."""

    time: float
    kind: str
    text: str


class RecentLines:
    """
    The latest lines of all `Diagnostics` of this process, until one reader takes them.

    Thread-safe, without a lock: a deque's methods are atomic.
    """

    def __init__(self) -> None:
        self._lines: deque[ReportedLine] = deque(maxlen=_MAX_RECENT_LINES)
        self.on_line: Callable[[], object] | None = None
        """Called after each line, on its thread; must not raise or wait."""

    def add(self, kind: str, text: str) -> None:
        """Keep one line, in place of the oldest one if there are many."""
        self._lines.append(ReportedLine(time.time(), kind, make_printable(text)))
        if self.on_line is not None:
            self.on_line()

    def take(self) -> list[ReportedLine]:
        """Remove and return all lines, oldest first."""
        lines: list[ReportedLine] = []
        try:
            while True:
                lines.append(self._lines.popleft())
        except IndexError:
            return lines

    def has_lines(self) -> bool:
        """Whether there is a line that was not taken."""
        return bool(self._lines)

    def clear(self) -> None:
        """Forget all lines, in a forked child: they are the parent's."""
        self._lines.clear()


RECENT_LINES = RecentLines()


class Diagnostics:
    """
    Write warnings to the logger ``odp_logging``, rate-limited by kind and location.

    Lines hold counts, settings and positions in code, never a key, an identifier or a
    payload. `warn` never raises. Thread-safe.

    Args:
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Reset the rate limits in a forked child, which reports for itself."""
        self._lock = OwnedLock()
        self._writing = OwnedLock()
        self._is_main_thread_only = False
        self._limits: dict[tuple[str, str], _RateLimit] = {}
        self._location_count = 0

    def warn(
        self,
        kind: str,
        message: str,
        level: int = logging.WARNING,
        *,
        location: str = "",
    ) -> bool:
        """
        Write *message*, unless its *kind* was written within the last minute.

        Args:
            location: File and line of a log call. Each has a rate limit of its own;
                beyond 100 locations, further ones share the limit of the kind.

        Returns:
            Whether the line was written, or is silenced by a level.
        """
        limit = self._limits.get((kind, location)) or self._add_limit(kind, location)
        number, now = next(limit.counter), self._clock()
        if limit.is_active(now):
            # Without a lock: each event of an unconfigured client comes here.
            return False
        more = self._lock.run(
            partial(limit.start_line, number, now), _LOCK_TIMEOUT_SECONDS
        )
        if more is None:
            return False
        if more:
            message = f"{message} ({more} more of this kind since the last line)"
        # A fork holds this lock: a line written beside it would be cut in the child.
        write = partial(self._write, message, level)
        if not self._writing.run(write, _LOCK_TIMEOUT_SECONDS):
            write()
        try:
            RECENT_LINES.add(kind, message)
        except Exception:  # no memory, or a signal handler raised: the line is written
            pass
        return True

    def _add_limit(self, kind: str, location: str) -> _RateLimit:
        # Without a lock: threads that come here at once exceed the bound by as many.
        if location and self._location_count >= _MAX_LOCATIONS:
            location = ""
        elif location:
            self._location_count += 1
        return self._limits.setdefault((kind, location), _RateLimit())

    def debug(self, message: str) -> None:
        """
        Write *message* for the setting ``debug``, without a rate limit. Never raises.

        Not while this thread is writing a line: a handler that logs an event for each
        line of the library would otherwise never return.
        """
        write = partial(self._write, message, logging.DEBUG)
        self._writing.run(write, _LOCK_TIMEOUT_SECONDS)

    def _write(self, message: str, level: int) -> bool:
        if self._is_main_thread_only and not is_main_thread():
            return True
        try:
            report(message, level)
        except Exception:  # a log call, or the flusher's thread, must survive this
            pass
        return True

    def silence_other_threads(self, deadline: float) -> None:
        """
        Let only the main thread write lines, and wait for a line in progress.

        At exit, daemon threads are frozen. If one is frozen while it holds the lock of
        stderr's buffer, Python aborts.
        """
        self._is_main_thread_only = True
        if not self._writing.is_owned():
            self._writing.acquire(max(0.0, deadline - monotonic()))
            self._writing.release()

    def before_fork(self, deadline: float) -> None:
        """
        Wait for a line in progress, and let no other thread begin one during the fork.

        The child would inherit the lock of stderr's buffer, held by a thread that it
        does not have. At its end Python flushes stderr and would wait forever.
        """
        if not self._writing.is_owned():
            self._writing.acquire(max(0.0, deadline - monotonic()))

    def after_fork_in_parent(self) -> None:
        """Let other threads write lines again."""
        self._writing.release()

    def __reduce__(self) -> Any:
        # Pickled with a processor for a spawned process, which reports for itself.
        return type(self), ()


class _RateLimit:
    """Counts messages of one kind and remembers when the last line was written."""

    __slots__ = ("_last_number", "_last_time", "counter")

    def __init__(self) -> None:
        # `next` is atomic: no two threads or signal handlers get the same number, and
        # no number is skipped.
        self.counter = itertools.count(1)
        self._last_time = -math.inf
        self._last_number = 0

    def is_active(self, now: float) -> bool:
        """Return whether a line was written within the last minute."""
        return now - self._last_time < INTERVAL

    def start_line(self, number: int, now: float) -> int | None:
        """Return how many messages came since the last line; None to write none."""
        if self.is_active(now):
            return None
        more = number - self._last_number - 1
        self._last_time, self._last_number = now, number
        return more


def make_printable(text: str) -> str:
    """
    Return *text* on one line, with a question mark for each unprintable character.

    For text from outside: control characters control a terminal or forge a line,
    direction marks reorder a line, and lone surrogates cannot be encoded.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print *text* as one line to *file*, by default stdout."""
    print(make_printable(text), file=file, flush=True)


class _Line(str):
    """A message that records whether a handler has formatted it."""

    __slots__ = ("is_formatted",)

    is_formatted: bool

    def __str__(self) -> str:
        self.is_formatted = True
        return str.__str__(self)

    def __reduce__(self) -> Any:
        # A pickled record may be read where this library is not installed.
        return str, (str.__str__(self),)


def report(message: str, level: int = logging.WARNING) -> None:
    """
    Write one line to the logger's handlers, or to stderr if none of them shows it.

    The level of the logger ``odp_logging`` itself and `logging.disable` silence lines.
    Lines at DEBUG come from the setting ``debug`` only. So they are written to stderr
    too where the handlers do not show that level.
    """
    message = make_printable(message)
    if not _is_silenced(level):
        line = _Line(message)
        line.is_formatted = False
        handlers = _find_handlers(level)
        if handlers:
            LOGGER.log(level, "%s", line)
        # A filter may have dropped the line. Then no handler has formatted it.
        if not (line.is_formatted or any(map(_is_unfiltered, handlers))):
            _write_to_stderr(message)


def _write_to_stderr(message: str) -> None:
    if sys.stderr is not None:
        print_line(f"odp_logging: {message}", sys.stderr)


def _is_silenced(level: int) -> bool:
    # dictConfig disables loggers by default, and the level of another logger is meant
    # for other lines. Neither is meant to hide a loss.
    if logging.root.manager.disable >= level:
        return True
    if LOGGER.level:
        return level < LOGGER.level
    if level <= logging.DEBUG:
        return False
    return level < logging.WARNING and not LOGGER.isEnabledFor(level)


def _find_handlers(level: int) -> list[logging.Handler]:
    """Return the handlers that show text and accept a line of this level."""
    handlers: list[logging.Handler] = []
    if LOGGER.disabled or not LOGGER.isEnabledFor(level):
        return handlers
    # A line at INFO that the handlers do not show does not go to stderr either.
    min_level = level if level <= logging.DEBUG else max(level, logging.WARNING)
    logger: logging.Logger | None = LOGGER
    while logger is not None:
        handlers += [
            handler for handler in logger.handlers if _can_show(handler, min_level)
        ]
        logger = logger.parent if logger.propagate else None
    return handlers


def _can_show(handler: logging.Handler, level: int) -> bool:
    if isinstance(handler, logging.NullHandler) or handler.level > level:
        return False
    return not getattr(handler, "_odp_only", False)


def _is_unfiltered(handler: logging.Handler) -> bool:
    # If there are filters, only they can tell. They are not run twice: a filter that
    # drops repeated lines would drop this one.
    overrides_filter = type(handler).filter is not logging.Handler.filter
    return not (overrides_filter or handler.filters or LOGGER.filters)
