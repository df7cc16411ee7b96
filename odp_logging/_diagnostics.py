"""What the library says about itself: one line a kind, at most once a minute."""

from __future__ import annotations

import itertools
import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ._lock import OwnedLock

LOGGER = logging.getLogger("odp_logging")

INTERVAL = 60.0
"""Seconds during which a second line of the same kind is counted, not written."""

_PATIENCE = 1.0


class Diagnostics:
    """
    Write warnings of a *kind* to the logger ``odp_logging``, and count the rest.

    Lines hold counts, settings and places in code; never a key, an identifier or a
    payload. `warn` may be called on any thread and never raises.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Start afresh in a forked child, which has lines of its own to say."""
        self._lock = OwnedLock()
        self._saying = OwnedLock()
        self._hushed = False
        self._kinds: dict[str, _Kind] = {}

    def warn(self, kind: str, message: str, level: int = logging.WARNING) -> None:
        """Say *message*, unless its *kind* was heard within the last minute."""
        heard = self._kinds.get(kind) or self._kinds.setdefault(kind, _Kind())
        number, now = next(heard.numbers), self._clock()
        if heard.is_fresh(now):
            return  # without a lock: an unconfigured client comes here with each event
        more = self._lock.run(partial(heard.enter, number, now), _PATIENCE)
        if more is None:
            return
        if more:
            message = f"{message} ({more} more of this kind since the last line)"
        # Not beside a fork that has it: the child would inherit half a line.
        if not self._saying.run(partial(self._said, message, level), _PATIENCE):
            self._said(message, level)

    def _said(self, message: str, level: int) -> bool:
        if self._hushed and not _is_main():
            return True
        try:
            say(message, level)
        except Exception:  # a log call, or the flusher's thread, must survive this
            pass
        return True

    def hush(self, deadline: float) -> None:
        """
        Have only the main thread write lines, and wait for one in progress.

        A daemon thread is frozen at the end of the process. In the middle of a line on
        stderr it would have Python abort.
        """
        self._hushed = True
        if not self._saying.mine():
            self._saying.acquire(max(0.0, deadline - time.monotonic()))
            self._saying.release()

    def before_fork(self, deadline: float) -> None:
        """
        Let no thread be in the middle of a line while this one forks.

        The child would inherit the lock of stderr's buffer, held by a thread that it
        does not have, and wait for ever at its end, when Python flushes stderr.
        """
        if not self._saying.mine():
            self._saying.acquire(max(0.0, deadline - time.monotonic()))

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._saying.release()

    def __reduce__(self) -> Any:
        # With a processor, to a spawned process, which has lines of its own to say.
        return type(self), ()


class _Kind:
    """When a kind was said last, and how often it came since."""

    __slots__ = ("_said", "_told", "numbers")

    def __init__(self) -> None:
        # `next` is one step: no thread or signal handler takes the same number, or
        # makes one go missing.
        self.numbers = itertools.count(1)
        self._said = -math.inf
        self._told = 0

    def is_fresh(self, now: float) -> bool:
        """Whether it was said within the last minute."""
        return now - self._said < INTERVAL

    def enter(self, number: int, now: float) -> int | None:
        """Return how many came between the last line and this one; None to be still."""
        if self.is_fresh(now):
            return None
        more = number - self._told - 1
        self._said, self._told = now, number
        return more


def say(message: str, level: int = logging.WARNING) -> None:
    """Write one line where somebody reads it: to a handler, or else to stderr."""
    if LOGGER.disabled or (LOGGER.isEnabledFor(level) and not _heard()):
        # dictConfig disables loggers by default, and a root logger whose only handler
        # sends to ODP prints nothing: either way the line would vanish.
        if sys.stderr is not None:
            print(f"odp_logging: {message}", file=sys.stderr, flush=True)
        return
    LOGGER.log(level, "%s", message)


def _is_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _heard() -> bool:
    """Whether any handler that shows text would get a record of our logger."""
    logger: logging.Logger | None = LOGGER
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, logging.NullHandler) and not getattr(
                handler, "odp_only", False
            ):
                return True
        logger = logger.parent if logger.propagate else None
    return False
