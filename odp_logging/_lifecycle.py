"""The interpreter's business: its end, its forks, its signals, its locks.

Measured on CPython 3.9 to 3.13. At the end of a process come, in this order:

1. callbacks of ``threading._register_atexit``; in children of `multiprocessing` made by
   fork or forkserver these and `multiprocessing.util.Finalize` are all that runs before
   3.13, neither atexit nor ``logging.shutdown``;
2. the join of non-daemon threads;
3. atexit callbacks, newest first: registered when this module is imported, ours runs
   late, after those of the application that log a last event. Daemon threads still run.
   From 3.12.0 to 3.12.2 no thread can be started from (1) on;
4. daemon threads are frozen, with whatever locks they hold; finalisers still run.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from ._billiard import hear_end
from ._diagnostics import say
from ._uvicorn import follow


class Drainable(Protocol):
    """What the end of the process asks of a flusher."""

    shutdown_timeout: float

    def begin_drain(self, deadline: float) -> None:
        """Start to send everything."""

    def end_drain(self, deadline: float) -> bool:
        """Wait until everything has left, or for *deadline*."""

    def give_up(self, reason: str, deadline: float = 0.0) -> int:
        """Drop what is left, between two requests if one ends before *deadline*."""

    def spooled(self) -> int:
        """Return how many events rest on disk."""

    def is_durable(self) -> bool:
        """Whether an event that was put here is on disk already."""

    def hush(self, deadline: float) -> None:
        """Have no thread but the main one write lines, from *deadline* on."""

    def go_synchronous(self, drain: Callable[[Drainable], object]) -> None:
        """Call *drain* instead of waking a thread."""

    def before_fork(self, deadline: float) -> None:
        """Come to a point where a fork does no harm, until *deadline*."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork(self) -> None:
        """Start afresh in a forked child."""

    def is_mine(self) -> bool:
        """Whether this thread is at work in it right now."""

    def has_destination(self) -> bool:
        """Whether it knows where to send."""

    def is_done(self) -> bool:
        """Whether nothing is left to do."""


_HUSH = 0.2
"""Seconds the end waits for a line that another thread is writing."""

_FORK_WAIT = 10.0
"""Seconds a fork waits for an import to end; importing `requests` takes 0.1 to 0.5,
and seconds where many processes do it at once. A child of one in between hangs."""

_CONFIGURATION_WAIT = 60.0
"""Seconds the sending thread waits for a dictConfig to end; most take milliseconds."""

_lines: dict[int, Drainable] = {}
_spent = 0.0
_beside = _beside_until = 0.0
"""Likewise, of other threads than the one that ends the process; counted until when."""
_told = 0
_kept = 0
_ending = False
_ender: int | None = None
"""Ident of the thread that ends the process, once one does."""
_finishing = False
_fatal: int | None = None
_module_lock_of = 0
"""Ident of the thread that took ``logging._lock`` to fork; 0 if none has."""
_wants_sigterm = False


def register(line: Drainable) -> None:
    """Have *line* drained at the end of the process and reset after a fork.

    It is held, so that a handler which nobody holds any more still delivers, until it
    was released and has nothing left to do.
    """
    for key, other in list(_lines.items()):
        if other.is_done():
            _lines.pop(key, None)
    _lines[id(line)] = line
    hear_end(_at_exit)
    if _ending:
        line.go_synchronous(_drain_late)


def registered() -> list[Drainable]:
    """Return all that is registered in this process."""
    return list(_lines.values())


def is_ending() -> bool:
    """Whether the last drain of this process has begun."""
    return _ending


def owns_module_lock() -> bool:
    """
    Whether this thread holds ``logging._lock``.

    dictConfig does while it flushes and closes the old handlers. Who then waits for a
    thread that logs (urllib3 does) waits for ever.
    """
    return _is_owned(getattr(logging, "_lock", None))


def await_configuration() -> None:
    """
    Let a thread that is about to import wait while another configures logging.

    What it imports makes loggers, for which it would wait with a module half imported,
    and who configures logging for that module, if he needs it as well: for ever.
    """
    lock = getattr(logging, "_lock", None)
    if lock is not None and lock.acquire(timeout=_CONFIGURATION_WAIT):
        lock.release()


def _is_owned(lock: object) -> bool:
    owned = getattr(lock, "_is_owned", None)
    return bool(owned is not None and owned())


def enter_process() -> None:
    """Make sure that the end of this process is heard of; called before first use.

    Not in the fork hook: `multiprocessing` clears finalisers and, from 3.13 on, atexit
    callbacks after it. A child of os.fork inherits the callbacks.
    """
    global _hooked_pid
    if _wants_sigterm:
        # Who forked us may have put the default action back: gunicorn's workers do.
        handle_sigterm()
    if not _is_multiprocessing_child() or _hooked_pid == os.getpid():
        return
    from multiprocessing.util import Finalize

    _hooked_pid = os.getpid()
    # A negative priority runs after the application's own finalisers.
    Finalize(None, _at_exit, exitpriority=-100)
    atexit.register(_at_exit)


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


_hooked_pid = 0


def drain(lines: list[Drainable]) -> None:
    """Send all that *lines* hold, within what is left of their shutdown timeouts."""
    start = time.monotonic()
    spent = _spent if _is_ender() else max(_spent, _beside)
    deadlines = [start + max(0.0, line.shutdown_timeout - spent) for line in lines]
    try:
        for line, deadline in zip(lines, deadlines):
            line.begin_drain(deadline)
        for line, deadline in zip(lines, deadlines):
            line.end_drain(deadline)
    finally:
        _spend(start)


def _spend(start: float) -> None:
    """Take the time since *start* off what the end of the process may take."""
    global _spent, _beside, _beside_until
    now = time.monotonic()
    if _is_ender():
        _spent += now - start
        return
    # Apart, what others wait beside the one that ends the process: the same seconds
    # would count twice, and leave too little for either. But they do count: threads
    # that log on while a process of multiprocessing waits for them would hold it up
    # for as long with each event.
    _beside += max(0.0, now - max(start, _beside_until))
    _beside_until = now


def _is_ender() -> bool:
    """Whether this thread ends the process, or nobody does yet."""
    return _ender in (None, threading.get_ident())


def _at_exit() -> None:
    """Drain for the last time, and say once what could not be delivered."""
    global _ending, _ender
    _ending, _ender = True, threading.get_ident()
    lines = registered()
    for line in lines:
        line.go_synchronous(_drain_late)
    _finish(lines)


def _drain_late(line: Drainable) -> None:
    """Deliver what an atexit callback or a finaliser logged after the last drain."""
    if threading.get_ident() == threading.main_thread().ident:
        _finish([line])
    elif not line.is_durable():
        # What a daemon thread cannot deliver is left to the main thread. It may be
        # frozen in the middle of a line on stderr, and Python would abort; or in the
        # middle of a request: what rests on disk would be sent once more.
        drain([line])


def _finish(lines: list[Drainable]) -> None:
    """Drain *lines*, drop what is left, and die of a signal that came meanwhile."""
    global _finishing
    _finishing = True
    started = time.monotonic()
    patient = True
    try:
        # What is logged while interpreter and modules are taken apart is only counted.
        if not sys.is_finalizing():
            drain(lines)
    except KeyboardInterrupt:
        patient = False  # who is impatient need not wait
    except Exception as error:  # nobody above could do anything about it
        say(f"draining at exit failed with {type(error).__name__}")
    try:
        reachable = any([line.has_destination() for line in lines])
        lost = sum([_give_up(line, patient=patient) for line in lines])
        _tell_lost(
            lost,
            time.monotonic() - started,
            reachable=reachable,
            kept=_newly_kept(),
        )
        soon = time.monotonic() + _HUSH
        for line in lines:
            line.hush(soon)
    finally:
        _finishing = False
        if _fatal is not None:
            _die(_fatal)


def _give_up(line: Drainable, *, patient: bool) -> int:
    """Drop what *line* holds, after the request under way; return how many events."""
    start = time.monotonic()
    left = max(0.0, line.shutdown_timeout - _spent) if patient else 0.0
    try:
        return line.give_up("exit", start + left)
    except KeyboardInterrupt:
        return line.give_up("exit")
    finally:
        _spend(start)


def _newly_kept() -> int:
    """Return how many events rest on disk that nobody was told of."""
    global _kept
    before, _kept = _kept, sum([line.spooled() for line in registered()])
    return max(0, _kept - before)


def _tell_lost(lost: int, seconds: float, *, reachable: bool, kept: int = 0) -> None:
    """Say on stderr how many events this process leaves undelivered: once, or twice."""
    global _told
    if not (lost or kept) or sys.stderr is None or _told > 1:
        return
    _told += 1
    advice = "raise shutdown_timeout, name a spool, or find out why ODP does not answer"
    if not reachable:
        advice = "no key was set: set ODP_API_KEY"
    late = ", and so is all that is logged from here on" if _told > 1 else ""
    count = lost + kept
    fate = f"they are lost{late}; {advice}"
    if kept and not lost:
        fate = "they are kept in the spool; the next process sends them"
    elif kept:
        fate = f"{kept} are kept in the spool, {lost} are lost{late}; {advice}"
    try:
        print(
            f"odp_logging: exiting with {count} undelivered event{'s' * (count != 1)}"
            f" after {seconds:.1f} s; {fate}",
            file=sys.stderr,
            flush=True,
        )
    except (OSError, ValueError, RuntimeError):
        pass  # stderr is closed, broken, or was interrupted in the middle of a line


def _before_threads_end() -> None:
    # Elsewhere atexit follows; for these children this is the last that runs.
    if _is_multiprocessing_child():
        _at_exit()


def _before_fork() -> None:
    """
    Have no thread within what a child would find half done, as far as time allows.

    logging's hook takes ``logging._lock`` after this. Who configures logging has that
    lock, and may wait for one of ours: we never wait for it with ours in hand. Nor the
    other way round: an import that we wait for may ask for a logger.
    """
    if _lines:
        hear_end(_at_exit)
    deadline = time.monotonic() + _FORK_WAIT
    while True:
        for line in registered():
            line.before_fork(deadline)
        if _take_module_lock(0.0) or time.monotonic() >= deadline:
            return
        for line in registered():
            line.after_fork_in_parent()
        _take_module_lock(max(0.0, deadline - time.monotonic()))
        _give_module_lock_back()


def _after_fork_in_parent() -> None:
    for line in registered():
        line.after_fork_in_parent()
    _give_module_lock_back()


def _take_module_lock(seconds: float) -> bool:
    """Take ``logging._lock`` within *seconds*; True as well if logging has none."""
    global _module_lock_of
    acquire = getattr(getattr(logging, "_lock", None), "acquire", None)
    if acquire is None:
        return True
    if acquire(timeout=seconds):
        _module_lock_of = threading.get_ident()
        return True
    return False


def _give_module_lock_back() -> None:
    global _module_lock_of
    # Not another thread's, which forks at the same time: this one had waited in vain.
    if _module_lock_of == threading.get_ident():
        _module_lock_of = 0
        logging._lock.release()  # type: ignore[attr-defined]


def _after_fork_in_child() -> None:
    global _spent, _told, _kept, _ending, _ender, _finishing, _fatal, _module_lock_of
    global _beside, _beside_until
    _module_lock_of = 0  # logging has a new one
    _spent = _beside = _beside_until = 0.0
    _told = _kept = 0
    _ending = _finishing = False
    _ender = _fatal = None
    for line in registered():
        line.after_fork()


def handle_sigterm() -> bool:
    """
    Deliver before a SIGTERM that nobody else handles ends the process.

    Only the default disposition is replaced, and only from the main thread: whoever
    handles SIGTERM himself keeps his handler, and uvicorn is followed to where it
    raises the signal again. The process still dies of the signal.

    Returns:
        Whether our handler is in place.
    """
    global _wants_sigterm
    _wants_sigterm = True
    try:
        current = signal.getsignal(signal.SIGTERM)
        if current is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _on_sigterm)
            return True
    except ValueError:  # not the main thread
        return False
    follow(current, handle_sigterm)
    return current is _on_sigterm


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    global _fatal
    if _finishing:
        _fatal = signum
    elif _holds_locks():
        # Those who deliver would wait for them: let the log call that was interrupted
        # end, and come back.
        _come_back(signum)
    elif os.getpid() == 1:
        drain(registered())  # the kernel lets no default action end a container's init
    else:
        _at_exit()
        _die(signum)


def _holds_locks() -> bool:
    """Whether this thread is in our code, or in logging's with a lock."""
    if any(line.is_mine() for line in registered()) or owns_module_lock():
        return True
    for ref in list(getattr(logging, "_handlerList", ())):
        handler = ref()
        # Our own handler's is never waited for, see OdpHandler.handle.
        if _is_owned(getattr(handler, "lock", None)) and not hasattr(
            handler, "odp_only"
        ):
            return True
    return False


def _come_back(signum: int) -> None:
    global _fatal
    again = threading.Timer(0.01, os.kill, (os.getpid(), signum))
    again.daemon = True
    try:
        again.start()
    except RuntimeError:  # 3.12.0 to 3.12.2, and the process is ending already
        _fatal = signum


def _die(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _install() -> None:
    hook = getattr(threading, "_register_atexit", None)
    if hook is not None:
        try:
            hook(_before_threads_end)
        except RuntimeError:  # the interpreter is ending already
            pass
    # Twice: Ctrl-C may come between its call and its first `try`. Then the second one,
    # which otherwise finds nothing left to do, delivers or declares.
    atexit.register(_at_exit)
    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )


_install()
