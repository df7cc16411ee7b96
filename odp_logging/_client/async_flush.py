"""Wait for events to be settled without blocking an event loop.

`OdpClient.aflush` and the function `aflush` wait here, under asyncio and under trio.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .._runtime.lock import monotonic

if TYPE_CHECKING:
    import asyncio

    from .._flusher.flusher import Flusher


async def wait_until_settled(
    flushers: list[Flusher], seconds: float, flush: Callable[[float], bool]
) -> bool:
    """
    Wait until all events that *flushers* hold now are settled, *seconds* at most.

    Under asyncio, the flusher's thread notifies the loop, and no thread waits. Without
    a flusher thread, and under trio, *flush* runs on a worker thread of the loop. After
    a cancellation, only such a worker thread still waits, until its time is over.

    Args:
        flush: The blocking equivalent; takes the seconds.

    Returns:
        Whether all of them were settled in time.
    """
    trio = _find_running_trio()
    if trio is not None:
        done: bool = await trio.to_thread.run_sync(
            flush, seconds, abandon_on_cancel=True
        )
        return done
    import asyncio  # 30 ms; its users have imported it already

    loop = asyncio.get_running_loop()
    if any(flusher.is_in_current_thread() for flusher in flushers):
        return flush(seconds)  # in a callback: returns at once
    deadline = monotonic() + seconds
    for flusher in flushers:
        flusher.request_flush()
    if not all(flusher.has_worker() or flusher.is_empty() for flusher in flushers):
        try:
            future = loop.run_in_executor(None, flush, seconds)
        except RuntimeError:  # at exit, no thread can be started any more
            return flush(seconds)
        return await future
    in_time = True
    for flusher in flushers:  # in turn: one may pass events to the next
        remaining = max(0.0, deadline - monotonic())
        in_time = await _wait_for_flusher(flusher, loop, remaining) and in_time
    return in_time


async def _wait_for_flusher(
    flusher: Flusher, loop: asyncio.AbstractEventLoop, seconds: float
) -> bool:
    import asyncio

    waiter = _Waiter(flusher, loop)
    try:
        _, pending = await asyncio.wait([waiter.future], timeout=seconds)
        return not pending
    finally:  # also if cancelled
        waiter.cancel()


class _Waiter:
    """A future that is done once a flusher has settled all events it holds now."""

    def __init__(self, flusher: Flusher, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._flusher = flusher
        self._callback = partial(loop.call_soon_threadsafe, self._complete)
        flusher.progress.notify(flusher.request_flush(), self._callback)

    def _complete(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def cancel(self) -> None:
        """Stop waiting."""
        self._flusher.progress.cancel(self._callback)
        self.future.cancel()


def is_in_event_loop() -> bool:
    """Whether an event loop of asyncio or trio is running in this thread."""
    # Not imported: a program that has not imported asyncio runs no loop of it.
    asyncio_events: Any = sys.modules.get("asyncio.events")
    running = getattr(asyncio_events, "_get_running_loop", None)
    if running is not None and running() is not None:
        return True
    return _find_running_trio() is not None


def _find_running_trio() -> Any:
    """Return the module trio if it runs the current task; else None."""
    trio: Any = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio
