"""Drain all flushers at the end of the process.

Each flusher registers here when it is built. `hooks` and `signals` start the last
drain. An event that is logged after it is sent at once, on the thread that logs it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from . import process
from .celery import connect_exit_signals
from .diagnostics import report
from .drainable import Drainable
from .lock import is_main_thread, monotonic
from .text import pluralize


def register(flusher: Drainable) -> None:
    """Drain *flusher* at the end of the process, and reset it after a fork.

    The registry keeps *flusher* alive until it is released and has nothing left to
    send, so a handler without other references still delivers its events.
    """
    for key, other in list(process.state.flushers.items()):
        if other.is_done():
            process.state.flushers.pop(key, None)
    process.state.flushers[id(flusher)] = flusher
    connect_exit_signals(drain_at_exit)
    if process.state.is_shutting_down():
        flusher.use_inline_delivery(_drain_inline)


def get_registered() -> list[Drainable]:
    """Return all registered flushers of this process."""
    return list(process.state.flushers.values())


def is_shutting_down() -> bool:
    """Return whether the last drain of this process has begun."""
    return process.state.is_shutting_down()


def drain(flushers: list[Drainable]) -> None:
    """
    Send all events of *flushers*, within the rest of their shutdown time.

    The wait ends when no event was sent for `shutdown_timeout` seconds, or after
    `shutdown_limit` seconds in all. Events sent by any of the flushers are progress.
    """
    start = monotonic()
    try:
        # All begin before the first wait, so they send side by side in one timeout.
        for flusher in flushers:
            flusher.start_drain(*_compute_deadlines(flusher))
        for flusher in flushers:
            flusher.end_drain(*_compute_deadlines(flusher))
            _add_drain_time(start, flushers)
    finally:
        _add_drain_time(start, flushers)


def _compute_deadlines(flusher: Drainable) -> tuple[float, float]:
    """Return the deadline without progress, and the deadline in all."""
    times = [process.state.drain_time]
    if not process.state.is_exit_thread():
        times.append(process.state.other_threads_drain_time)
    idle = max([time.idle for time in times])
    total = max([time.total for time in times])
    now = monotonic()
    limit = now + max(0.0, flusher.shutdown_limit - total)
    return min(limit, now + max(0.0, flusher.shutdown_timeout - idle)), limit


def _add_drain_time(start: float, flushers: list[Drainable]) -> None:
    """Subtract the time since *start* from the rest of the shutdown time."""
    # Other threads have an account of their own. In one account, seconds that several
    # threads wait at once would count twice and leave too little. Without any account,
    # threads that log while a multiprocessing process joins them would delay the exit
    # by a whole timeout for each event.
    time = (
        process.state.drain_time
        if process.state.is_exit_thread()
        else process.state.other_threads_drain_time
    )
    time.add(start, max([flusher.last_settled_at for flusher in flushers], default=0.0))


def drain_at_exit() -> None:
    """Drain all flushers for the last time, and report undelivered events once."""
    process.state.exit_thread = threading.get_ident()
    flushers = get_registered()
    for flusher in flushers:
        flusher.use_inline_delivery(_drain_inline)
    _run_final_drain(flushers)


def _drain_inline(flusher: Drainable) -> None:
    """Deliver events that atexit callbacks or finalizers log after the last drain."""
    if is_main_thread():
        _run_final_drain([flusher])
    else:
        # The main thread drops and reports what remains. A daemon thread may be frozen
        # while it writes to stderr, and Python would abort.
        drain([flusher])


def _run_final_drain(flushers: list[Drainable]) -> None:
    """Drain, drop the remaining events, report them; then exit by a pending signal."""
    process.state.is_in_final_drain = True
    started = monotonic()
    can_wait = True
    try:
        # While the interpreter is taken apart, events are only counted: nothing can be
        # imported, and daemon threads are frozen with the locks they hold.
        if not sys.is_finalizing():
            drain(flushers)
    except KeyboardInterrupt:
        can_wait = False
    except Exception as error:  # no caller could handle it
        report(f"draining at exit failed with {type(error).__name__}")
    try:
        has_destination = any([flusher.has_destination() for flusher in flushers])
        failures = [flusher.get_failure() for flusher in flushers]
        lost = sum([_abandon(flusher, can_wait=can_wait) for flusher in flushers])
        _report_undelivered(
            lost,
            monotonic() - started,
            has_destination=has_destination,
            failure=next(filter(None, failures), ""),
            kept=_count_newly_kept(),
        )
    finally:
        process.state.is_in_final_drain = False
        _restore_keyboard_interrupt()
        if process.state.fatal_signal is not None:
            exit_by_signal(process.state.fatal_signal)


def _restore_keyboard_interrupt() -> None:
    """
    Let the process die of SIGINT if Ctrl-C ended it, as it would without this library.

    CPython records that KeyboardInterrupt ended the main program. It clears the record
    when any thread executes code from text. Imports of dataclasses and named tuples do,
    for example the modules needed for sending. A shell loop then continues after
    Ctrl-C.
    """
    traceback = getattr(sys, "last_traceback", None)
    if getattr(sys, "last_type", None) is not KeyboardInterrupt or traceback is None:
        return
    # Only for the main program. IPython uses the same record for an interrupted cell,
    # but there a frame of IPython called the cell.
    if traceback.tb_frame.f_back is None and not hasattr(sys, "ps1"):
        try:
            exec("raise KeyboardInterrupt")
        except KeyboardInterrupt:
            pass


def _abandon(flusher: Drainable, *, can_wait: bool) -> int:
    """Drop the events of *flusher* after the current request; return their number."""
    start = monotonic()
    deadline = _compute_deadlines(flusher)[0] if can_wait else start
    try:
        # Waits for the request under way: an event in it may be accepted already.
        return flusher.abandon("exit", deadline)
    except KeyboardInterrupt:  # ends the wait; the loss is still counted and reported
        return flusher.abandon("exit")
    finally:
        _add_drain_time(start, [flusher])


def _count_newly_kept() -> int:
    """Return the number of events on disk that were not reported yet."""
    before = process.state.reported_kept
    process.state.reported_kept = sum(
        [flusher.count_spooled() for flusher in get_registered()]
    )
    return max(0, process.state.reported_kept - before)


def _report_undelivered(
    lost: int,
    seconds: float,
    *,
    has_destination: bool,
    failure: str = "",
    kept: int = 0,
) -> None:
    """
    Write the number of undelivered events to stderr, at most twice a process.

    Args:
        has_destination: Whether a host and a key are known.
        failure: Why the last attempt left events; empty if it was only too slow.
    """
    if not (lost or kept) or sys.stderr is None or process.state.exit_reports > 1:
        return
    # Twice at most: for the drain, and for what finalizers and atexit callbacks log
    # later.
    process.state.exit_reports += 1
    if not has_destination:
        hint = "no key was set: set ODP_API_KEY"
    elif failure:
        hint = f"{failure}; set spool to keep such events for the next process"
    else:
        hint = "increase shutdown_timeout, or set spool"
    suffix = (
        ", and so are all events logged from here on"
        if process.state.exit_reports > 1
        else ""
    )
    count = lost + kept
    outcome = f"they are lost{suffix}; {hint}"
    if kept and not lost:
        outcome = "they are kept in the spool; the next process sends them"
    elif kept:
        outcome = f"{kept} are kept in the spool, {lost} are lost{suffix}; {hint}"
    try:
        # Not format_count(): scripts search for this number, without separators.
        print(
            f"odp_logging: exiting with {count} undelivered {pluralize('event', count)}"
            f" after {seconds:.1f} s; {outcome}",
            file=sys.stderr,
            flush=True,
        )
    except (OSError, ValueError, RuntimeError):
        pass  # stderr is closed, broken, or was interrupted while writing


def exit_by_signal(signum: int) -> None:
    """End the process by *signum*, so its parent sees the usual exit status."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
