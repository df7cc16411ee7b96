"""What the library says about itself: one line a kind, at most once a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

LOGGER = logging.getLogger("odp_logging")

INTERVAL = 60.0
"""Seconds during which a second line of the same kind is counted, not written."""


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
        self._said: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warn(self, kind: str, message: str, level: int = logging.WARNING) -> None:
        """Say *message*, unless its *kind* was heard within the last minute."""
        now = self._clock()
        last = self._said.get(kind)
        if last is not None and now - last < INTERVAL:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._said[kind] = now
        more = self._suppressed.pop(kind, 0)
        if more:
            message = f"{message} ({more} more of this kind since the last line)"
        try:
            say(message, level)
        except Exception:  # a log call, or the flusher's thread, must survive this
            pass


def say(message: str, level: int = logging.WARNING) -> None:
    """Write one line where somebody reads it: to a handler, or else to stderr."""
    if LOGGER.disabled or (LOGGER.isEnabledFor(level) and not _heard()):
        # dictConfig disables loggers by default, and a root logger whose only handler
        # sends to ODP prints nothing: either way the line would vanish.
        if sys.stderr is not None:
            print(f"odp_logging: {message}", file=sys.stderr, flush=True)
        return
    LOGGER.log(level, "%s", message)


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
