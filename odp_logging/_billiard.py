"""Celery's and billiard's business: where their processes end, and who logs there.

Neither is imported; what is loaded already is asked. Measured with Celery 5.7 and
billiard 4.3:

- children of Celery's prefork pool send ``worker_process_shutdown`` and end by
  ``os._exit``: neither atexit nor any finaliser runs. A SIGTERM that they get, a task's
  ``revoke(terminate=True)`` too, ends them the same way;
- other children of billiard run its finalisers, and no atexit;
- a worker takes all handlers off the root logger, between ``celeryd_init`` and
  ``after_setup_logger``, unless ``worker_hijack_root_logger=False``; what
  ``get_task_logger`` returns does not reach the root logger at all.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

_UID = "odp_logging"

_heard: object = None
_finalised = 0
_end: Callable[[], object] | None = None
_on_root: list[Any] = []


def hear_end(end: Callable[[], object]) -> None:
    """
    Have *end* called at the end of a child of Celery or billiard, if this may be one.

    To be called again and again, since they may be loaded later: in a client's making,
    before a fork, and with a process's first event.
    """
    global _end
    _end = end
    _hear_celery()
    _hear_billiard()


def _hear_celery() -> None:
    global _heard
    signals: Any = sys.modules.get("celery.signals")
    if signals is None or signals is _heard:
        return
    try:
        # Not weakly held, and by one name: however often, it is connected once. Before
        # the fork: a receiver that connects while it is sent to is not called, and the
        # first event of a child may come from another receiver of that signal.
        for name, receiver in _RECEIVERS.items():
            getattr(signals, name).connect(receiver, weak=False, dispatch_uid=_UID)
        _heard = signals
    except AttributeError:  # another thread is still importing it
        pass


def _hear_billiard() -> None:
    global _finalised
    util: Any = sys.modules.get("billiard.util")
    if util is None or _finalised == os.getpid() or not _is_child():
        return
    _finalised = os.getpid()
    # A negative priority runs after the application's own finalisers.
    util.Finalize(None, _end, exitpriority=-100)


def _is_child() -> bool:
    process: Any = sys.modules.get("billiard.process")
    current = process.current_process() if process is not None else None
    return getattr(current, "_parent_pid", None) is not None


def _on_process_shutdown(**about: Any) -> None:
    # Receivers that log after this one send at once: the drain has begun.
    if _end is not None and _is_child():
        _end()


def _on_worker_start(**about: Any) -> None:
    _on_root[:] = [each for each in logging.getLogger().handlers if _is_ours(each)]


def _on_logging_set_up(**about: Any) -> None:
    # It makes room on the root logger for what Celery prints; we print nothing.
    root = logging.getLogger()
    for handler in _on_root:
        if handler not in root.handlers:
            root.addHandler(handler)
    _on_root.clear()


def _on_task_logging_set_up(logger: logging.Logger, **about: Any) -> None:
    # Celery's own task loggers stop below the root logger.
    for handler in filter(_is_ours, logging.getLogger().handlers):
        if not logger.propagate:
            logger.addHandler(handler)


def _is_ours(handler: object) -> bool:
    return hasattr(handler, "odp_only")


_RECEIVERS: dict[str, Callable[..., None]] = {
    "worker_process_shutdown": _on_process_shutdown,
    "celeryd_init": _on_worker_start,
    "after_setup_logger": _on_logging_set_up,
    "after_setup_task_logger": _on_task_logging_set_up,
}
