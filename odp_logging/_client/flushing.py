"""
Flush and close flushers: those of one client, or all of this process.

`OdpClient` calls this for its own flushers. `flush` and `aflush` are the public
functions for every client, handler and processor.
"""

from __future__ import annotations

from functools import partial

from .._flusher.flusher import Flusher
from .._runtime import shutdown
from .._runtime.lock import monotonic
from .._runtime.logging_lock import owns_logging_lock
from .async_flush import wait_until_settled


def flush(timeout: float = 10.0) -> bool:
    """
    Flush every client, handler and processor of this process; see `OdpClient.flush`.

    Args:
        timeout: Seconds to wait at most, for all of them together.
    """
    return flush_flushers(list_flushers(), timeout)


async def aflush(timeout: float = 10.0) -> bool:
    """
    Do the same as `flush` without blocking the event loop of asyncio or trio.

    Args:
        timeout: Seconds to wait at most, for all of them together.
    """
    return await flush_flushers_async(list_flushers(), timeout)


for _function in (flush, aflush):
    _function.__module__ = "odp_logging"


def list_flushers() -> list[Flusher]:
    """Return the flushers of every client of this process."""
    found = [part for part in shutdown.get_registered() if isinstance(part, Flusher)]
    # At the end those that send what the others leave in a spool.
    last = [
        flusher.spool_flusher for flusher in found if flusher.spool_flusher is not None
    ]
    return [flusher for flusher in found if flusher not in last] + last


def flush_flushers(flushers: list[Flusher], timeout: float) -> bool:
    """
    Have *flushers* send all their events; wait *timeout* seconds at most.

    Returns:
        Whether all events were settled in that time.
    """
    if owns_logging_lock():
        for flusher in flushers:
            flusher.request_flush()
        return all(flusher.is_empty() for flusher in flushers)
    if shutdown.is_shutting_down():
        # logging.shutdown() runs after the last drain: the same deadline applies.
        shutdown.drain(list(flushers))
        return all(flusher.is_empty() for flusher in flushers)
    deadline = monotonic() + clamp_timeout(timeout)
    for flusher in flushers:
        # All are asked before the first wait, so that they send side by side.
        if not flusher.is_in_current_thread():
            flusher.request_flush()
    # A list, not a generator: each flusher gets its share of the time, even if an
    # earlier one was late.
    return all(
        [flusher.flush(max(0.0, deadline - monotonic())) for flusher in flushers]
    )


async def flush_flushers_async(flushers: list[Flusher], timeout: float) -> bool:
    """Do the same as `flush_flushers` without blocking the event loop."""
    return await wait_until_settled(
        flushers, clamp_timeout(timeout), partial(flush_flushers, flushers)
    )


def close_flushers(flushers: list[Flusher], timeout: float) -> bool:
    """
    Have *flushers* send their events and end their threads.

    Returns:
        Whether no event is pending after *timeout* seconds at most.
    """
    if owns_logging_lock() or any(
        flusher.is_in_current_thread() for flusher in flushers
    ):
        # Waiting would deadlock: for a lock of logging, or for this very thread.
        for flusher in flushers:
            flusher.request_flush()
    elif shutdown.is_shutting_down():
        shutdown.drain(list(flushers))
    else:
        deadline = monotonic() + clamp_timeout(timeout)
        for flusher in flushers:
            flusher.start_drain(deadline)
        for flusher in flushers:
            flusher.end_drain(deadline)
    for flusher in flushers:
        flusher.finish()
    return all(flusher.is_empty() for flusher in flushers)


def clamp_timeout(seconds: float) -> float:
    """
    Return *seconds*, at least 0 and at most a day, which every lock accepts.

    Raises:
        TypeError: It is no number, and no text of one such as ``"5"``.
    """
    try:
        seconds = float(seconds)
    except (TypeError, ValueError):
        raise TypeError(
            f"timeout must be a number of seconds, such as 5.0, not {seconds!r:.40}"
        ) from None
    # Not a number is not equal to itself.
    return min(max(0.0, seconds), 86_400.0) if seconds == seconds else 0.0
