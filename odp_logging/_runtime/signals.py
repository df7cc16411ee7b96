"""Deliver pending events before SIGTERM, SIGHUP or SIGQUIT ends the process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

from . import process
from .lock import is_main_thread
from .logging_lock import is_lock_owned, owns_logging_lock
from .shutdown import drain, drain_at_exit, exit_by_signal, get_registered
from .uvicorn import hook_uvicorn

EXIT_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)
"""Signals that request the end of a process and skip atexit: from a service manager,
from a closed terminal, or as the STOPSIGNAL of some container images."""


def install_signal_handlers() -> bool:
    """
    Deliver pending events before an unhandled signal ends the process.

    Applies to SIGTERM, SIGHUP and SIGQUIT. Replaces only the default action, and only
    from the main thread, so the application's own handlers stay. uvicorn's handler is
    hooked where uvicorn raises SIGTERM again. The process still dies of the signal.

    Returns:
        Whether this library's handler is in place for SIGTERM.
    """
    process.state.use_signal_handlers = True
    if process.state.runs_no_signal_handlers:
        return False
    for signum in EXIT_SIGNALS:
        _replace_default_action(signum)
    current = signal.getsignal(signal.SIGTERM)
    hook_uvicorn(current, install_signal_handlers)
    return current is handle_signal and is_main_thread()


def _replace_default_action(signum: int) -> None:
    try:
        if signal.getsignal(signum) is signal.SIG_DFL and not _is_handled_in_c(signum):
            signal.signal(signum, handle_signal)
    except ValueError:  # not the main thread
        pass


def reinstall_signal_handlers() -> None:
    """Install the handlers again after asyncio, or other code, restored the default."""
    is_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if process.state.use_signal_handlers and is_default and is_main_thread():
        install_signal_handlers()


def _is_handled_in_c(signum: int) -> bool:
    """Return whether a C handler takes *signum*, such as faulthandler or a server."""
    try:
        with open("/proc/self/status", "rb") as file:
            mask = next(line for line in file if line.startswith(b"SigCgt:"))
        return bool(int(mask.split()[1], 16) >> (signum - 1) & 1)
    except (OSError, StopIteration, ValueError, IndexError):  # not Linux
        return False


def handle_signal(signum: int, frame: FrameType | None) -> None:
    """Drain, then die of *signum*. Async-signal context: must not block on a lock."""
    if process.state.is_in_final_drain:
        # The interrupted drain is limited, too. It reports losses and then exits by
        # this signal; a second drain within it would report them twice.
        process.state.fatal_signal = signum
    elif process.state.is_forking():
        # Between the hooks of a fork no thread may start and nothing may be sent.
        process.state.deferred_signals.add(signum)
    elif process.state.is_forked and not process.state.has_events():
        exit_by_signal(signum)  # at once, as without the library
    elif _is_holding_locks():
        # The sending threads would wait for these locks. Let the interrupted log call
        # finish, and raise the signal again.
        _schedule_signal(signum)
    elif os.getpid() == 1:
        # The kernel ignores default actions for a container's init.
        drain(get_registered())
    else:
        drain_at_exit()
        exit_by_signal(signum)


def _is_holding_locks() -> bool:
    """Return whether the current thread runs a flusher or holds a logging lock."""
    running = any(flusher.is_in_current_thread() for flusher in get_registered())
    if running or owns_logging_lock():
        return True
    for reference in list(getattr(logging, "_handlerList", ())):
        handler = reference()
        # No thread waits for the lock of an OdpHandler, see OdpHandler.handle.
        if is_lock_owned(getattr(handler, "lock", None)) and not hasattr(
            handler, "_odp_only"
        ):
            return True
    return False


def _schedule_signal(signum: int) -> None:
    """Send *signum* again in 10 ms; a log call takes about 10 us."""
    # A thread and not setitimer, which would replace a timer of the application.
    timer = threading.Timer(0.01, os.kill, (os.getpid(), signum))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # 3.12.0 to 3.12.2, while the process is ending
        process.state.fatal_signal = signum
