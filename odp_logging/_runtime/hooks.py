"""Install the hooks by which the interpreter calls this library at exit and at forks.

Importing this module installs them. Order of events at the end of a process (measured
on CPython 3.9 to 3.13):

1. Callbacks of ``threading._register_atexit``. In `multiprocessing` children started by
   fork or forkserver, only these and `multiprocessing.util.Finalize` run before 3.13,
   neither atexit nor ``logging.shutdown``.
2. Non-daemon threads are joined.
3. atexit callbacks run, newest first. This module registers at import, so it runs late:
   after the application's callbacks that log a last event. Daemon threads still run.
   On 3.12.0 to 3.12.2 no thread can be started from (1) on.
4. Daemon threads are frozen, with the locks they hold. Finalizers still run.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Any, NoReturn

from . import process
from .fork import prepare_fork, reset_child, resume_parent
from .lock import IN_SUBINTERPRETER
from .shutdown import drain_at_exit
from .signals import install_signal_handlers

_WORKER_LIBRARIES = frozenset({"rq.worker"})
"""Modules of libraries with workers that end by ``os._exit``, and that import the
application only after the fork or are spawned. Nothing else identifies a worker."""


def enter_process() -> None:
    """Install the exit hooks of this process; called before its first event.

    The fork hook is too early: `multiprocessing` clears finalizers and, from 3.13 on,
    atexit callbacks after it. A child of os.fork inherits the callbacks.
    """
    process.state.pid_with_events = os.getpid()
    if process.state.use_signal_handlers:
        # The parent may have restored the default action, as gunicorn's workers do.
        install_signal_handlers()
    util = find_process_library()
    if util is not None and process.state.hooked_pid != os.getpid():
        process.state.hooked_pid = os.getpid()
        # A negative priority runs after the application's own finalizers.
        util.Finalize(None, drain_at_exit, exitpriority=-100)
        atexit.register(drain_at_exit)
    if (
        process.state.is_forked
        or util is not None
        or _WORKER_LIBRARIES & sys.modules.keys()
    ):
        _replace_os_exit()


def find_process_library() -> Any:
    """
    Return the ``util`` module of the library that started this process, or None.

    `multiprocessing` and its copies end their children by ``os._exit``, after the
    callbacks of ``util.Finalize``. Copies, such as dill's `multiprocess`, are found by
    the attributes of their modules, so none is imported or named here.
    """
    for name in [name for name in list(sys.modules) if name.endswith(".process")]:
        util = name[: -len("process")] + "util"
        if _find_attribute(util, "Finalize") is None:
            continue
        parent_process = _find_attribute(name, "parent_process")
        if parent_process is not None and parent_process() is not None:
            return sys.modules[util]
    return None


def _find_attribute(module: str, name: str) -> Any:
    """Return attribute *name* of a loaded module, or None."""
    try:
        # Not getattr: it would import a module that is loaded lazily.
        attributes = object.__getattribute__(sys.modules.get(module), "__dict__")
    except AttributeError:
        return None
    return attributes.get(name)


def _replace_os_exit() -> None:
    """
    Deliver when this process calls ``os._exit``, which runs no exit callback.

    Only in a child, and only after its first event. There ``os._exit`` is the usual
    end: of rq's work horses, of `socketserver.ForkingMixIn` and others. In the process
    that the user started, ``os._exit`` still ends the process at once.
    """
    if os._exit is not _exit_after_drain:
        process.state.real_exit = os._exit
        os._exit = _exit_after_drain


def _exit_after_drain(status: int) -> NoReturn:
    try:
        # A grandchild without events of its own inherits the replacement, too.
        if process.state.has_events() and not process.state.is_shutting_down():
            drain_at_exit()
    except BaseException:  # the process must end
        pass
    finally:
        process.state.real_exit(status)


def _drain_before_thread_join() -> None:
    # For these children no later hook runs. A sub-interpreter joins the flusher's
    # thread next, and the thread must have ended by then.
    if find_process_library() is not None or IN_SUBINTERPRETER:
        drain_at_exit()


def _install_hooks() -> None:
    register_before_join = getattr(threading, "_register_atexit", None)
    if register_before_join is not None:
        try:
            register_before_join(_drain_before_thread_join)
        except RuntimeError:  # the interpreter is already ending
            pass
    # Twice: Ctrl-C may arrive between the call of the first and its `try`. The second
    # then delivers or reports. Otherwise it finds nothing left to do.
    atexit.register(drain_at_exit)
    atexit.register(drain_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=prepare_fork,
            after_in_parent=resume_parent,
            after_in_child=reset_child,
        )


_install_hooks()
