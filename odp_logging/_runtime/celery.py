"""Run the exit drain and keep handlers attached in processes of Celery and billiard.

`shutdown` and `fork` call this module. Neither library is imported: only what is loaded
already is used. Measured with Celery 5.7 and billiard 4.3:

- Children of Celery's prefork pool send ``worker_process_shutdown`` and end by
  ``os._exit``. Neither atexit nor finalizers run. SIGTERM ends them the same way, also
  the one of a task's ``revoke(terminate=True)``.
- Other children of billiard run its finalizers, but no atexit.
- Between ``celeryd_init`` and ``after_setup_logger``, a worker removes all handlers
  from the root logger, unless ``worker_hijack_root_logger=False``. Loggers returned by
  ``get_task_logger`` do not propagate to the root logger.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

_UID = "odp_logging"

_connected_signals: object = None
_finalizer_pid = 0
_drain_at_exit: Callable[[], object] | None = None
_root_handlers: list[Any] = []


def connect_exit_signals(drain_at_exit: Callable[[], object]) -> None:
    """
    Call *drain_at_exit* at the end of a child of Celery or billiard.

    Idempotent. Called when a client is built, before a fork, and at the first event of
    a process, because the two libraries may be imported later.
    """
    global _drain_at_exit
    _drain_at_exit = drain_at_exit
    _connect_celery()
    _register_billiard_finalizer()


def _connect_celery() -> None:
    global _connected_signals
    signals: Any = sys.modules.get("celery.signals")
    if signals is None or signals is _connected_signals:
        return
    try:
        # Connected before the fork: a receiver that is connected while its signal is
        # sent is not called, and another receiver may log a child's first event.
        for name, receiver in _RECEIVERS.items():
            getattr(signals, name).connect(receiver, weak=False, dispatch_uid=_UID)
        _connected_signals = signals
    except AttributeError:  # another thread is still importing it
        pass


def _register_billiard_finalizer() -> None:
    global _finalizer_pid
    util: Any = sys.modules.get("billiard.util")
    if util is None or _finalizer_pid == os.getpid() or not _is_child():
        return
    _finalizer_pid = os.getpid()
    # A negative priority runs after the application's own finalizers.
    util.Finalize(None, _drain_at_exit, exitpriority=-100)


def _is_child() -> bool:
    process: Any = sys.modules.get("billiard.process")
    current = process.current_process() if process is not None else None
    return getattr(current, "_parent_pid", None) is not None


def _on_process_shutdown(**kwargs: Any) -> None:
    # Receivers that log after this one send at once, because the drain has begun.
    if _drain_at_exit is not None and _is_child():
        _drain_at_exit()


def _on_worker_init(**kwargs: Any) -> None:
    handlers = logging.getLogger().handlers
    _root_handlers[:] = [handler for handler in handlers if _is_odp_handler(handler)]


def _on_logging_setup(**kwargs: Any) -> None:
    # Celery removes handlers so that lines are not printed twice. OdpHandler prints
    # none.
    root = logging.getLogger()
    for handler in _root_handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    _root_handlers.clear()


def _on_task_logging_setup(logger: logging.Logger, **kwargs: Any) -> None:
    # Celery's task loggers do not propagate to the root logger.
    for handler in filter(_is_odp_handler, logging.getLogger().handlers):
        if not logger.propagate:
            logger.addHandler(handler)


def _is_odp_handler(handler: object) -> bool:
    # By its attribute: the class is in a layer above this one.
    return hasattr(handler, "_odp_only")


_RECEIVERS: dict[str, Callable[..., None]] = {
    "worker_process_shutdown": _on_process_shutdown,
    "celeryd_init": _on_worker_init,
    "after_setup_logger": _on_logging_setup,
    "after_setup_task_logger": _on_task_logging_setup,
}
