"""
The input for `logging`: a handler that captures tagged records.

`OdpHandler.handle` runs on the thread of the log call. It copies the ``odp_*`` fields
into the client's inbox; the flusher's thread builds the event from them (`Builder`).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from .._capture.call_sites import PLAIN_FIELD_COUNT, SEEN_LINES, inspect_record
from .._capture.context import STRUCTLOG_WATCH
from .._capture.fast import COMMON_FIELD_COUNT, capture_plain
from .._capture.fields import ACTION, CAPTURED_BY, HIDDEN
from .._client.client import OdpClient, get_or_create_client
from .._client.outbox.base import read_outbox
from .._client.router import EXHAUSTED
from .._config.secrets import remove_secrets, wrap_secrets
from .._config.signature import SettingsSignature
from .._runtime.diagnostics import Diagnostics
from .._runtime.secret import wrap_text
from .duplicates import (
    OTHER_HANDLERS,
    CapturedAction,
    is_captured_by_other,
    mark_action,
    mark_captured,
    register_handler,
)
from .records import find_odp_fields, has_nested_tag, read_origin, read_record_context

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._config.typed import Settings

_LIBRARY_LOGGERS = ("odp_logging.", "urllib3.", "requests.")
"""Loggers of the library's own requests: a tagged record of these would be a loop."""

_MAX_LOGGER_NAMES = 1000
"""Limit of the cache of logger names, since an application may generate names."""

_NO_PROCESS = -1
"""No valid process id. Not None, which records have if logging.logProcesses is off."""


class OdpHandler(logging.Handler):
    """
    Turns records tagged with ``odp_action`` into ODP events.

    An event needs ``odp_action`` and ``odp_identifiers``, in the record or bound
    before. ``odp_type``, ``odp_data``, ``odp_timestamp`` and ``odp_idempotence_id`` are
    optional. A record without ``odp_action`` costs one or two look-ups and no lock.
    Emitting raises nothing. It does no I/O, except with ``background=False``,
    ``overflow="block"`` or in an `outbox`. Otherwise it waits at most 50 ms, and only
    while the buffer is nearly full and events are being sent; see the setting
    ``backpressure``.

    structlog's event dict in ``record.msg`` and loguru's ``record.extra`` are read too.

    Args:
        api_key: ODP's public key; else ``ODP_API_KEY``.
        level: Records below this level are ignored.
        client: A client to share; it is not closed with the handler.
        settings: As for `OdpClient`.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    __module__ = "odp_logging"

    __signature__ = SettingsSignature()
    _odp_only = True
    """Prints nothing: the library's warnings need another handler, or stderr."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        level: int | str = logging.NOTSET,
        client: OdpClient | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        # Rebound: tracebacks show local variables, and the raw dict holds the key.
        settings = wrap_secrets(api_key, settings)  # type: ignore[assignment]
        api_key = None
        client = wrap_text(client)
        # Before super().__init__(), which registers the handler: logging.shutdown()
        # then calls its flush(), even if this method raises below.
        self.client = get_or_create_client(client, settings)
        super().__init__(level)
        self._owned = client is None
        self._flush_timed_out = False
        self._has_warned = False
        self._settings = settings
        flush_level = self.client._config.flush_level
        self._flush_level = sys.maxsize if flush_level is None else flush_level
        # Names of loggers that are not the library's, with the process that checked
        # them. Stays empty if every record needs the general path: because a subclass
        # overrides a method, or because flush_level needs the level.
        self._application_loggers: dict[str, int] = {}
        kind = type(self)
        plain = kind.emit is OdpHandler.emit and kind.filter is logging.Handler.filter
        self._can_use_fast_path = plain and flush_level is None
        register_handler(self)

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit *record* if it is tagged and the filters let it pass."""
        # Overrides handle() and not only emit(), so that the handler's lock is never
        # acquired: logging.shutdown() holds it during flush(), while the flusher's
        # thread logs through urllib3, which would deadlock.
        # Hot path: one function with one call, to `capture_plain`. With the checks of
        # the first block in a helper, a tagged record cost up to 10 % more.
        captured = None
        try:
            fields = record.__dict__
            if ACTION in fields:
                inbox = self.client._router.inbox
                if (
                    self._application_loggers.get(fields["name"], _NO_PROCESS)
                    == fields["process"]
                    and not self.filters
                    and not inbox.callback_threads
                    and len(STRUCTLOG_WATCH.watched) == STRUCTLOG_WATCH.expected
                ):
                    captured = capture_plain(
                        fields,
                        fields["created"],
                        fields["pathname"],
                        fields["lineno"],
                        COMMON_FIELD_COUNT,
                    )
            elif (
                type(fields["msg"]) is str
                and "extra" not in fields
                and HIDDEN not in fields
            ):
                # Subscripts: 20 ns less than attributes and a tuple of both.
                if (
                    len(fields) > PLAIN_FIELD_COUNT or type(fields["args"]) is dict
                ) and fields["lineno"] not in SEEN_LINES[fields["pathname"]]:
                    try:
                        inspect_record(record)
                    except Exception:  # the stack is exhausted; nothing is lost
                        pass
                return False
        except Exception:  # nothing has been done yet; the general path decides
            pass
        if captured is None or inbox.is_bypassed or read_outbox() is not None:
            try:
                if captured is None:
                    return self._handle_any(record)
                return self._put_captured(captured, fields)
            except EXHAUSTED:
                # No call here: the stack may be exhausted (RecursionError).
                self.client._router.own_inbox.capture_failures += 1
                return False
        is_kept = False
        try:
            inbox.queue.append(captured)
            is_kept = True
            if OTHER_HANDLERS:
                self._mark_captured(fields)
            if not inbox.is_flusher_idle and len(inbox.queue) < inbox.check_after:
                return True
            self.client._router.check_inbox(inbox)
        except EXHAUSTED as error:  # must not raise into a log call
            if not is_kept:
                self.client._router.own_inbox.capture_failures += 1
                try:
                    self.client._router.report_capture_failure(
                        error, read_origin(record)
                    )
                except EXHAUSTED:
                    pass
        except Exception:
            # Raised by a signal handler after the append, which itself fails only for
            # lack of memory or stack. The flusher may not have been notified yet.
            try:
                self.client._router.check_inbox(inbox)
            except Exception:
                pass
        if inbox.nearly_full:
            try:
                self.client._router.apply_backpressure()
            except EXHAUSTED:
                pass
        return True

    def _put_captured(self, captured: tuple[Any, ...], fields: dict[str, Any]) -> bool:
        """Put a capture that must not wait in the inbox, and mark its record."""
        self.client._router.put_captured(captured)
        if OTHER_HANDLERS:
            self._mark_captured(fields)
        return True

    def _handle_any(self, record: logging.LogRecord) -> Any:
        """Emit *record* as `handle` does; the general path for every record."""
        try:
            if ACTION not in record.__dict__ and not has_nested_tag(record):
                inspect_record(record)
                return False
        except Exception as error:  # a key of the record may fail to compare
            self.client._router.own_inbox.capture_failures += 1
            try:
                self.client._router.report_capture_failure(error, read_origin(record))
            except EXHAUSTED:
                pass
            return False
        STRUCTLOG_WATCH.refresh()
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Capture the event that *record* describes, if it describes one."""
        try:
            fields = find_odp_fields(record)
            if (
                fields is None
                or self._is_library_record(record.name)
                or self._is_captured_already(record)
            ):
                return
            origin = read_origin(record)
            context = read_record_context(record)
            urgent = self._is_urgent(record.levelno)
        except Exception as error:  # must not raise into a log call
            self.client._router.own_inbox.capture_failures += 1
            try:
                self.client._router.report_capture_failure(error, read_origin(record))
            except EXHAUSTED:
                pass
            return
        # put() counts its own failures and raises only what a signal handler raised.
        self.client._put(
            fields, time=record.created, origin=origin, context=context, urgent=urgent
        )
        if OTHER_HANDLERS:
            self._mark_captured(record.__dict__)
        try:
            inspect_record(record)
            attributes = record.__dict__
            if fields is not attributes and fields is not attributes.get("extra"):
                # For an OdpProcessor in a ProcessorFormatter, which copies the record.
                action = mark_action(dict.__getitem__(fields, ACTION), CapturedAction)
                dict.__setitem__(fields, ACTION, action)
        except Exception:  # must not raise into a log call; the event is captured
            pass

    def _mark_captured(self, fields: dict[str, Any]) -> None:
        """Mark the record as captured, for the other handlers of this process."""
        try:
            mark_captured(fields, self.client._destinations.compute_fingerprint(), self)
        except Exception:  # must not raise into a log call; the event is captured
            pass

    def _is_urgent(self, level: Any) -> bool:
        # In an unpickled record the level may have any type.
        return type(level) is int and level >= self._flush_level

    def _is_library_record(self, logger: Any) -> bool:
        # requests itself logs through urllib3 only. A logger "requests.something" may
        # be the application's: ignored only during the library's own requests.
        name = f"{logger}." if type(logger) is str else ""
        if not name.startswith(_LIBRARY_LOGGERS):
            known = self._application_loggers
            has_capacity = len(known) < _MAX_LOGGER_NAMES or logger in known
            if self._can_use_fast_path and name and has_capacity:
                known[logger] = os.getpid()
            return False
        return not name.startswith("requests.") or self.client._router.is_sending()

    def _is_captured_already(self, record: logging.LogRecord) -> bool:
        """Return whether another handler captured *record* for the same account."""
        if CAPTURED_BY not in record.__dict__:
            return False
        is_captured = is_captured_by_other(
            record.__dict__, self.client._destinations.compute_fingerprint(), self
        )
        if is_captured and not self._has_warned:
            self._has_warned = True
            Diagnostics().warn(  # a new one: not limited by other warnings
                "rivals",
                "two OdpHandlers saw the same record for the same account; it is sent"
                " once, with the first one's settings. Where a notebook's cell ran"
                " twice, logging.basicConfig(handlers=[...], force=True) replaces it",
            )
        return is_captured

    def flush(self) -> None:
        """Send buffered events; wait at most ``shutdown_timeout`` seconds."""
        self._flush_timed_out = not self.client.flush(
            self.client._config.shutdown_timeout
        )

    def close(self) -> None:
        """Deliver buffered events; records logged later are still delivered."""
        # logging.shutdown() calls flush(), then close(): do not wait twice.
        wait = 0.0 if self._flush_timed_out else self.client._config.shutdown_timeout
        self._flush_timed_out = False
        if self._owned:
            self.client.close(wait)
        else:
            self.client.flush(wait)
        super().close()

    def __repr__(self) -> str:
        level = logging.getLevelName(getattr(self, "level", logging.NOTSET))
        # Must not raise: a traceback may show an instance before __init__ has finished.
        return f"<OdpHandler ({level}) {getattr(self, 'client', None)!r}>"

    def __copy__(self) -> OdpHandler:
        # Shares the client: a copy with its own client would have no key.
        return _rebuild(type(self), self.level, {"client": self.client})

    def __deepcopy__(self, memo: Any) -> OdpHandler:
        return self.__copy__()

    def __reduce__(self) -> Any:
        if self._owned:
            return _rebuild, (type(self), self.level, remove_secrets(self._settings))
        return _rebuild, (type(self), self.level, {"client": self.client})


def _rebuild(
    kind: type[OdpHandler], level: int, settings: dict[str, Any]
) -> OdpHandler:
    return kind(level=level, **settings)
