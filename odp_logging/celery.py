"""Carry the identifiers of the caller into the tasks of Celery."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any

from celery import signals

from ._capture.context import bind_identifiers, read_context
from ._capture.scope import Scope

__all__ = ["connect"]

_HEADER = "odp_identifiers"
_UID = "odp_logging.celery"

_scopes: dict[str, AbstractContextManager[None]] = {}
"""Scopes of the tasks that run in this process, by task id."""


def connect() -> None:
    """
    Send the bound identifiers with each task; bind them where the task runs.

        odp_logging.celery.connect()     # in the module of the Celery application

    Call it in the processes that publish tasks and in the workers; the module of the
    application is imported by both. The identifiers of the caller are a header of the
    task's message, which the broker stores as plain text. They are bound for this task
    alone, its retries and the tasks that it publishes. Other tasks start with nothing
    bound. Idempotent.
    """
    for signal, receiver in (
        (signals.before_task_publish, _add_header),
        (signals.task_prerun, _enter_scope),
        (signals.task_postrun, _exit_scope),
    ):
        # The uid: a second call connects nothing.
        signal.connect(receiver, weak=False, dispatch_uid=_UID)


def _add_header(headers: MutableMapping[str, Any] | None = None, **_: Any) -> None:
    identifiers = _read_identifiers()
    if identifiers and headers is not None:
        headers[_HEADER] = identifiers


def _read_identifiers() -> dict[str, str]:
    layers, _ = read_context() or ((), ())
    merged = {name: value for layer in layers for name, value in dict(layer).items()}
    return {
        str(name): str(value) for name, value in merged.items() if value is not None
    }


def _enter_scope(task_id: str, task: Any, **_: Any) -> None:
    if task.request.is_eager:  # it runs within its caller's context
        return
    scope = Scope().enter()
    # Not a with statement: the end of the task is another signal.
    scope.__enter__()
    _scopes[task_id] = scope
    identifiers = _read_header(task.request)
    if isinstance(identifiers, dict):
        bind_identifiers(**identifiers)


def _read_header(request: Any) -> Any:
    # Celery makes headers of a message attributes of the request. A message that was
    # published with ``headers=`` has them there instead.
    return request.get(_HEADER) or (request.get("headers") or {}).get(_HEADER)


def _exit_scope(task_id: str, **_: Any) -> None:
    scope = _scopes.pop(task_id, None)
    if scope is not None:
        scope.__exit__(None, None, None)
