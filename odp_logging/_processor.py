"""structlog's way in: a processor that captures tagged events."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, MutableMapping
from types import FrameType
from typing import Any

from ._client import OdpClient, client_of
from ._config import sealed
from ._diagnostics import Diagnostics
from ._mapping import ACTION, FIELDS, HIDDEN, Captured, Taken, mark

_LEVELS = {
    "debug": 10,
    "info": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "exception": 40,
    "critical": 50,
    "fatal": 50,
}

_IN_BETWEEN = frozenset({"structlog", "odp_logging", "logging"})


class OdpProcessor:
    """
    Turns structlog events tagged with ``odp_action`` into ODP events.

    Put it after ``merge_contextvars`` and before the renderer or
    ``ProcessorFormatter.wrap_for_formatter``. With an `OdpHandler` further down the
    same path, an event is sent once. It never raises into a log call.

    Args:
        client: A client to share; else one is made of *settings*.
        strip: Whether to take the ``odp_*`` keys out, so that no e-mail address is
            printed.
        settings: As for `OdpClient`.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    def __init__(
        self, client: OdpClient | None = None, *, strip: bool = True, **settings: Any
    ) -> None:
        settings = sealed(None, settings)
        self.client = client_of(client, settings)
        self._strip = strip
        self._flush_level = self.client.config.flush_level
        self._diagnostics = Diagnostics()

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> Any:
        """Capture the event if it is tagged; return the dict without its fields."""
        if type(event_dict) is not dict and not issubclass(type(event_dict), Mapping):
            self._diagnostics.warn(
                "processor",
                f"OdpProcessor was given a {type(event_dict).__name__}; put it before"
                " the renderer, where the event still is a dict",
            )
            return event_dict
        tagged = False
        try:
            tagged = ACTION in event_dict
            if tagged:
                self._capture(method_name, event_dict)
            elif "_record" in event_dict:
                self._capture_hidden(method_name, event_dict)
        except Exception as error:  # nothing is raised into a log call
            self.client.failed(error, _caller())
        if self._strip:
            return self._stripped(event_dict)
        if not tagged:
            return event_dict
        return {**event_dict, ACTION: mark(event_dict[ACTION], Captured)}

    def _capture(self, method_name: str, event_dict: MutableMapping[str, Any]) -> None:
        record = event_dict.get("_record")
        action = event_dict[ACTION]
        # issubclass() and not isinstance(), which asks the object and may run its code.
        if not issubclass(type(action), Taken) and not _is_foreign(event_dict):
            level = _LEVELS.get(method_name, 0)
            self.client.put(
                event_dict,
                time=time.time() if record is None else record.created,
                origin=_caller(),
                hurry=self._flush_level is not None and level >= self._flush_level,
            )
        if record is not None and issubclass(type(record.msg), dict):
            # Within ProcessorFormatter: other handlers see the original dict.
            original = record.msg if ACTION in record.msg else _hidden(record)
            original[ACTION] = mark(action, Captured)

    def _capture_hidden(
        self, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> None:
        """Capture the event that a `HideOdpFields` has moved out of sight."""
        hidden = _hidden(event_dict["_record"])
        if ACTION in hidden:
            self._capture(method_name, {**event_dict, **hidden})

    def _stripped(
        self, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if FIELDS.isdisjoint(event_dict):
            return event_dict
        return {key: event_dict[key] for key in event_dict if key not in FIELDS}

    def __repr__(self) -> str:
        # Shown half made in a traceback with local variables, it must not raise.
        return f"<OdpProcessor {getattr(self, 'client', None)!r}>"


def _hidden(record: Any) -> dict[str, Any]:
    found = record.__dict__.get(HIDDEN)
    return found if type(found) is dict else {}


def _is_foreign(event_dict: MutableMapping[str, Any]) -> bool:
    # Within ProcessorFormatter, a record logged through logging: once for every handler
    # that formats it. An OdpHandler sends it.
    return "_record" in event_dict and not event_dict.get("_from_structlog", False)


def _caller() -> tuple[str, int] | None:
    """Return file and line of the log call, past structlog's and logging's frames."""
    frame: FrameType | None = sys._getframe(1)
    contextvars = sys.modules.get("structlog.contextvars")
    calling = getattr(contextvars, "_ASYNC_CALLING_STACK", None)
    if calling is not None:  # await log.ainfo(...): we run on an executor's thread
        frame = calling.get(frame)
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if name.partition(".")[0] not in _IN_BETWEEN:
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None
