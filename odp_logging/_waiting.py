"""Waiting for events to leave, without holding up an event loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from ._flusher import Flusher


async def have_left(
    flushers: list[Flusher], seconds: float, flush: Callable[[float], bool]
) -> bool:
    """
    Wait until all that *flushers* hold now has left, *seconds* at most.

    Under asyncio the flusher's thread tells the loop; nothing waits on another thread.
    Where there is no such thread, and under trio, *flush* runs on one of the loop's.
    Cancelled, it leaves nobody waiting, but for such a thread until its time is over.

    Args:
        flush: Does the same, and blocks; takes the seconds.

    Returns:
        Whether all of it has left in time.
    """
    trio = _running_trio()
    if trio is not None:
        done: bool = await trio.to_thread.run_sync(
            flush, seconds, abandon_on_cancel=True
        )
        return done
    import asyncio  # 30 ms that only those pay who use it anyway

    loop = asyncio.get_running_loop()
    if any(each.is_mine() for each in flushers):
        return flush(seconds)  # within a callback: says at once that it cannot wait
    deadline = time.monotonic() + seconds
    for flusher in flushers:
        flusher.hurry()
    if not all(each.is_attended() or each.is_empty() for each in flushers):
        try:
            waiting = loop.run_in_executor(None, flush, seconds)
        except RuntimeError:  # the end of the process: no thread can start any more
            return flush(seconds)
        return await waiting
    in_time = True
    for flusher in flushers:  # in turn: one may leave events to the next
        left = max(0.0, deadline - time.monotonic())
        in_time = await _has_left(flusher, loop, left) and in_time
    return in_time


async def _has_left(
    flusher: Flusher, loop: asyncio.AbstractEventLoop, seconds: float
) -> bool:
    import asyncio

    waiting = _Waiting(flusher, loop)
    try:
        _, late = await asyncio.wait([waiting.future], timeout=seconds)
        return not late
    finally:  # cancelled, perhaps
        waiting.give_up()


class _Waiting:
    """One who awaits that a flusher has sent all it holds now."""

    def __init__(self, flusher: Flusher, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._flusher = flusher
        self._told = partial(loop.call_soon_threadsafe, self._settle)
        flusher.passage.notify(flusher.hurry(), self._told)

    def _settle(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def give_up(self) -> None:
        """Wait no longer."""
        self._flusher.passage.forget(self._told)
        self.future.cancel()


def _running_trio() -> Any:
    """Return trio if it runs the task that asks; else None."""
    trio: Any = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio
