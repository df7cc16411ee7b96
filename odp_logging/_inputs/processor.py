"""
The input for structlog: a processor that captures tagged events.

`OdpProcessor` runs in the log call and passes the event dict to `OdpClient._put`. A
`ProcessorFormatter` also runs it for records of plain logging ("foreign" records).
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from .._capture.call_sites import (
    IGNORED_NAMES,
    IGNORED_NAMES_WITH_TAG,
    find_application_call,
    inspect_event_dict,
    recognize_names,
)
from .._capture.context import STRUCTLOG_WATCH
from .._capture.fast import capture_plain
from .._capture.fields import ACTION, FIELDS, read_hidden
from .._client.client import OdpClient, get_or_create_client
from .._client.outbox.base import read_outbox
from .._client.router import EXHAUSTED
from .._config.secrets import wrap_secrets
from .._config.signature import SettingsSignature
from .._runtime.diagnostics import Diagnostics
from .._runtime.secret import wrap_text
from ..exceptions import ConfigurationError
from .duplicates import CapturedAction, ConsumedAction, mark_action

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._config.typed import SettingsWithKey
    from .._stores.inbox import Inbox

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

_CAPTURED_RECORDS: deque[tuple[Any, Any, str | None]] = deque(maxlen=256)
"""Captured records of plain logging: their two time objects, and the account.

`ProcessorFormatter` passes a copy of the record for each handler that formats it. All
copies share the float objects of the record's times, and no other record has them.
"""


class OdpProcessor:
    """
    Turns structlog events tagged with ``odp_action`` into ODP events.

    Put it after ``merge_contextvars`` and before the renderer or
    ``ProcessorFormatter.wrap_for_formatter``. With an `OdpHandler` further down the
    same path, an event is sent once. It never raises into a log call.

    In ``foreign_pre_chain`` of a ``ProcessorFormatter``, records of plain logging are
    sent too: once for all handlers that format them, and not if an `OdpHandler` or a
    queue handler on their path gets them.

    Args:
        client: A client to share; else one is created from *settings*.
        strip: Whether to remove the ``odp_*`` keys, so that they are not printed.
        settings: As for `OdpClient`.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    __module__ = "odp_logging"
    __signature__ = SettingsSignature()

    if not TYPE_CHECKING:  # checkers take the parameters of __init__

        def __new__(cls, *arguments: Any, **settings: Any) -> OdpProcessor:
            """Refuse the call that structlog makes if it has the class as processor."""
            if len(arguments) == 3:  # logger, method name and event dict
                raise ConfigurationError(
                    "structlog was given the class OdpProcessor, not a processor; write"
                    " processors=[..., OdpProcessor(), ...], with brackets"
                )
            return super().__new__(cls)

    def __init__(
        self,
        client: OdpClient | None = None,
        *,
        strip: bool = True,
        **settings: Unpack[SettingsWithKey],
    ) -> None:
        # Rebound: tracebacks show local variables, and the raw dict holds the key.
        settings = wrap_secrets(None, settings)  # type: ignore[assignment]
        client = wrap_text(client)
        self.client = get_or_create_client(client, settings)
        self._strip = strip
        self._flush_level = self.client._config.flush_level
        self._can_use_fast_path = strip and self._flush_level is None
        self._diagnostics = Diagnostics()

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> Any:
        """Capture the event if it is tagged; return the dict without its fields."""
        if (
            self._can_use_fast_path
            and type(event_dict) is dict
            and ACTION in event_dict
        ):
            captured = names = None
            try:
                names = recognize_names(event_dict)
                if names is not None:
                    captured = self._capture_plain(event_dict, names.common_count)
            except Exception:  # nothing has been done yet; the general path decides
                pass
            if captured is not None and names is not None:
                self.client._router.put_into_inbox(*captured)
                event_dict = event_dict.copy()  # half the time of a comprehension
                for name in names.fields:
                    event_dict.pop(name, None)  # never raises, unlike del
                return event_dict
        if type(event_dict) is not dict and not issubclass(type(event_dict), Mapping):
            self._diagnostics.warn(
                "processor",
                f"OdpProcessor was given a {type(event_dict).__name__}; put it before"
                " the renderer, where the event still is a dict",
            )
            return event_dict
        tagged = False
        found = None
        try:
            tagged = ACTION in event_dict
            if tagged:
                found = self._build_put_arguments(method_name, event_dict)
            elif "_record" in event_dict:
                found = self._read_record(method_name, event_dict)
        except Exception as error:  # must not raise into a log call
            # First, and no call: the stack may be exhausted (RecursionError).
            self.client._router.own_inbox.capture_failures += 1
            try:
                self.client._router.report_capture_failure(
                    error, find_application_call()
                )
            except Exception:
                pass
        if found is not None:
            try:
                self.client._put(found.pop("fields"), **found)
            except EXHAUSTED:
                self.client._router.own_inbox.capture_failures += 1
        try:
            known = IGNORED_NAMES_WITH_TAG if tagged else IGNORED_NAMES
            if not known.issuperset(event_dict):
                inspect_event_dict(event_dict)
        except Exception:  # must not raise into a log call; the event is captured
            pass
        if self._strip:
            return self._strip_fields(event_dict)
        if not tagged:
            return event_dict
        return {**event_dict, ACTION: mark_action(event_dict[ACTION], ConsumedAction)}

    def _capture_plain(
        self, event_dict: dict[str, Any], common_count: int
    ) -> tuple[Inbox, tuple[Any, ...], tuple[str, int] | None] | None:
        """
        Capture a common event; return None where only the general path can.

        Args:
            common_count: See `capture_plain`.

        Returns:
            The arguments of `Router.put_into_inbox`.
        """
        inbox = self.client._router.inbox
        if (
            inbox.callback_threads
            or inbox.is_bypassed
            or self.client._destinations.pid != os.getpid()
            or len(STRUCTLOG_WATCH.watched) != STRUCTLOG_WATCH.expected
            or type(event_dict[ACTION]) is not str
            or read_outbox() is not None
        ):
            STRUCTLOG_WATCH.refresh()
            return None
        origin = find_application_call(depth=3)  # this one, __call__ and its caller
        path, line = origin or (None, None)
        captured = capture_plain(event_dict, time.time(), path, line, common_count)
        return None if captured is None else (inbox, captured, origin)

    def _build_put_arguments(
        self, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return the arguments of `_put`; None if another input captures the event."""
        found = None
        record = event_dict.get("_record")
        action = event_dict[ACTION]
        # Not isinstance(), which reads __class__ and may run the application's code.
        if issubclass(type(action), CapturedAction):
            pass
        elif _is_foreign(event_dict):
            found = self._read_foreign_record(event_dict)
        else:
            level = _LEVELS.get(method_name, 0)
            found = {
                "fields": event_dict,
                "time": time.time() if record is None else record.created,
                "origin": find_application_call(),
                "urgent": self._flush_level is not None and level >= self._flush_level,
            }
        if record is not None and issubclass(type(record.msg), dict):
            # In a ProcessorFormatter: other handlers see the original dict.
            is_nested = ACTION in record.msg
            original = record.msg if is_nested else read_hidden(record.__dict__)
            original[ACTION] = mark_action(action, ConsumedAction)
        return found

    def _read_record(
        self, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> dict[str, Any] | None:
        """
        Return the arguments of `_put` if the fields are in the record, not in the dict.

        `HideOdpFields` has hidden them, or no ``ExtraAdder`` has copied them.
        """
        record = event_dict["_record"]
        for fields in (read_hidden(record.__dict__), record.__dict__):
            if ACTION in fields:
                found = {name: fields[name] for name in FIELDS if name in fields}
                return self._build_put_arguments(method_name, {**event_dict, **found})
        return None

    def _read_foreign_record(
        self, event_dict: MutableMapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return the arguments of `_put` for a plain record; None if it is captured."""
        record = event_dict["_record"]
        account = self.client._destinations.compute_fingerprint()
        times = record.created, record.relativeCreated
        if any(
            [
                _is_same_record(times, known) and known[2] == account
                for known in [*_CAPTURED_RECORDS]
            ]
        ):
            return None
        if any(
            [self._can_reach_account(handler) for handler in _find_handlers(record)]
        ):
            return None
        _CAPTURED_RECORDS.append((*times, account))
        return {
            "fields": event_dict,
            "time": record.created,
            "origin": (record.pathname, record.lineno),
            "urgent": self._flush_level is not None
            and type(record.levelno) is int
            and record.levelno >= self._flush_level,
        }

    def _can_reach_account(self, handler: logging.Handler) -> bool:
        """Return whether *handler* sends records to the same account, or may do so."""
        listener = getattr(handler, "listener", None)
        if listener is not None:
            return any([self._can_reach_account(inner) for inner in listener.handlers])
        if hasattr(handler, "queue") or hasattr(handler, "makePickle"):
            return True  # perhaps to an OdpHandler in another process
        target = getattr(handler, "target", None)
        if isinstance(target, logging.Handler):
            return self._can_reach_account(target)
        client = getattr(handler, "client", None)
        if not getattr(handler, "_odp_only", False) or not isinstance(
            client, OdpClient
        ):
            return False
        return client is self.client or client._has_same_destination(self.client)

    def _strip_fields(
        self, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if FIELDS.isdisjoint(event_dict):
            return event_dict
        return {key: event_dict[key] for key in event_dict if key not in FIELDS}

    def __repr__(self) -> str:
        # Must not raise: a traceback may show an instance before __init__ has finished.
        return f"<OdpProcessor {getattr(self, 'client', None)!r}>"


def _is_foreign(event_dict: MutableMapping[str, Any]) -> bool:
    # A record of plain logging in a ProcessorFormatter, which calls the processor once
    # for every handler that formats the record.
    return "_record" in event_dict and not event_dict.get("_from_structlog", False)


def _is_same_record(times: tuple[Any, Any], known: tuple[Any, Any, Any]) -> bool:
    return times[0] is known[0] and times[1] is known[1]


def _find_handlers(record: logging.LogRecord) -> Iterator[logging.Handler]:
    """Yield the handlers to which logging passes *record*."""
    # Not getLogger(), which would create a logger of that name.
    logger: Any = logging.root.manager.loggerDict.get(record.name, logging.root)
    if not isinstance(logger, logging.Logger):
        logger = logging.root
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
