"""logging's way in: a handler for tagged records, and a filter that stamps them."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from ._client import OdpClient, client_of
from ._config import sealed, without_secrets
from ._context import Watch, bound, ours
from ._diagnostics import Diagnostics
from ._mapping import ACTION, FIELDS, HIDDEN, Captured, Taken, mark
from ._rivals import RIVALS, TAKEN, enter, is_taken, take

_OWN = ("odp_logging.", "urllib3.", "requests.")
"""Loggers whose records, tagged by a filter, would feed us on our own requests."""

_CONTEXT = "_odp_bound"

_PLAIN = frozenset({str, int, float, bool, type(None)})
_copy = dict.copy

_MANY = 32
"""Values in an event, beyond which it is weighed at once."""

_LONG = 256
"""Characters in a text, likewise."""

_USUAL = len(logging.makeLogRecord({}).__dict__) + 3
"""Fields of a record that names an action, identifiers and data, and nothing else."""

_KNOWN = 1000
"""Names of loggers remembered, at most: an application may make them up."""

_UNKNOWN = -1
"""No process's id, and not None either: so is it without ``logging.logProcesses``."""

_WATCH = Watch()


class OdpHandler(logging.Handler):
    """
    Turns records tagged with ``odp_action`` into ODP events.

    An event needs ``odp_action`` and, here or bound before, ``odp_identifiers``;
    ``odp_type``, ``odp_data``, ``odp_timestamp`` and ``odp_idempotence_id`` may come
    with them. A record without the tag costs a look-up or two and takes no lock.
    Emitting raises nothing and, unless ``background=False`` or ``overflow="block"``
    asks for it, does no I/O and waits for nothing.

    structlog's event dict in ``record.msg`` and loguru's ``record.extra`` are read too.

    Args:
        api_key: ODP's public key; else ``ODP_API_KEY``.
        level: Records below it are ignored.
        client: A client to share; it is not closed with the handler.
        settings: As for `OdpClient`.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    odp_only = True
    """Shows no text: the library's own warnings need another handler, or stderr."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        level: int | str = logging.NOTSET,
        client: OdpClient | None = None,
        **settings: Any,
    ) -> None:
        settings, api_key = sealed(api_key, settings), None
        # First: logging flushes at exit what was begun here, whatever became of it.
        self.client = client_of(client, settings)
        super().__init__(level)
        self._owned = client is None
        self._in_vain = False
        self._told = False
        self._settings = settings
        flush_level = self.client.config.flush_level
        self._flush_level = sys.maxsize if flush_level is None else flush_level
        # Names of loggers known not to be ours; none where each record goes the long
        # way, since a subclass has its own or since its level matters.
        self._others: dict[str, int] = {}
        kind = type(self)
        plain = kind.emit is OdpHandler.emit and kind.filter is logging.Handler.filter
        self._is_quick = plain and flush_level is None
        enter(self)

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit *record* if it is tagged and the filters let it pass."""
        # Here and not in emit(): the handler's lock is never taken. logging.shutdown()
        # holds it while it flushes, and the flusher's thread logs through urllib3.
        #
        # All of it is on the path of a request: what nearly every record needs is done
        # in these lines, without a call; whatever is unusual goes the long way.
        try:
            fields = record.__dict__
            if ACTION not in fields:
                if (
                    type(record.msg) is str
                    and "extra" not in fields
                    and HIDDEN not in fields
                ):
                    return False
                return self._handle_any(record)
            intake = self.client.intake
            if (
                self._others.get(record.name, _UNKNOWN) != fields["process"]
                or self.filters
                or intake.busy
                or len(_WATCH.watched) != _WATCH.expected
            ):
                return self._handle_any(record)
            action = fields[ACTION]
            if type(action) is not str or len(action) > _LONG:
                return self._handle_any(record)
            identifiers = fields.get("odp_identifiers")
            if identifiers is not None:
                identifiers = _copy(identifiers)
                for value in identifiers.values():
                    if type(value) is str:
                        if len(value) > _LONG:
                            return self._handle_any(record)
                    elif type(value) is not int:
                        return self._handle_any(record)
            data = fields.get("odp_data")
            if data is not None:
                data = _copy(data)
                if len(data) > _MANY:
                    return self._handle_any(record)
                for key, value in data.items():
                    if type(value) is str:
                        if len(value) > _LONG:
                            return self._handle_any(record)
                    elif (
                        type(value) is not float
                        and type(value) is not int
                        and type(value) is not bool
                        and value is not None
                    ):
                        return self._handle_any(record)
                    if type(key) is not str:
                        return self._handle_any(record)
            event_type = stamp = event_id = None
            if len(fields) > _USUAL or data is None or identifiers is None:
                if _CONTEXT in fields or TAKEN in fields:
                    return self._handle_any(record)
                event_type = fields.get("odp_type")
                stamp = fields.get("odp_timestamp")
                event_id = fields.get("odp_idempotence_id")
                for value in (event_type, stamp, event_id):
                    if type(value) not in _PLAIN or (
                        type(value) is str and len(value) > _LONG
                    ):
                        return self._handle_any(record)
            path, line, created = record.pathname, record.lineno, record.created
        except Exception:  # nothing is done yet, and nothing raised into a log call
            return self._handle_any(record)
        try:
            incoming = intake.incoming
            # fmt: off
            incoming.append(  # in the order of `Capture`
                (action, identifiers, event_type, data, stamp, created, event_id,
                 ours(), path, line)
            )
            # fmt: on
            if intake.idle or len(incoming) >= intake.look_at:
                self.client.arrived(intake)
            if RIVALS:
                take(fields, self.client.account, self)
        except Exception as error:  # nothing is raised into a log call
            self.client.failed(error, _origin(record))
        return True

    def _handle_any(self, record: logging.LogRecord) -> Any:
        """Do as `handle`, for every record there is."""
        try:
            if ACTION not in record.__dict__ and not _tagged_inside(record):
                return False
        except Exception as error:  # a key that cannot be compared, see emit
            self.client.failed(error, _origin(record))
            return False
        _WATCH.look_again()
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Capture the event that *record* describes, if it describes one."""
        try:
            fields = _fields_of(record)
            if fields is None or self._is_own(record.name) or self._is_late(record):
                return
            self.client.put(
                fields,
                time=record.created,
                origin=_origin(record),
                context=getattr(record, _CONTEXT, None),
                hurry=self._is_urgent(record.levelno),
            )
            if RIVALS:
                take(record.__dict__, self.client.account, self)
            places = record.__dict__
            if fields is not places and fields is not places.get("extra"):
                # For processors in a ProcessorFormatter, which gets a copied record.
                action = mark(dict.__getitem__(fields, ACTION), Taken)
                dict.__setitem__(fields, ACTION, action)
        except Exception as error:  # nothing is raised into a log call
            self.client.failed(error, _origin(record))

    def _is_urgent(self, level: Any) -> bool:
        # Off the wire it may be None, or anything.
        return type(level) is int and level >= self._flush_level

    def _is_own(self, logger: Any) -> bool:
        # requests logs through urllib3; loggers of the application may be called
        # "requests.something", and count unless they come from within our sending.
        name = f"{logger}." if type(logger) is str else ""
        if not name.startswith(_OWN):
            room = len(self._others) < _KNOWN
            if self._is_quick and name and (room or logger in self._others):
                self._others[logger] = os.getpid()
            return False
        return not name.startswith("requests.") or self.client.is_sending()

    def _is_late(self, record: logging.LogRecord) -> bool:
        """Whether another handler has captured *record* for the same account."""
        if TAKEN not in record.__dict__:
            return False
        late = is_taken(record.__dict__, self.client.account, self)
        if late and not self._told:
            self._told = True
            Diagnostics().warn(  # whatever others have said
                "rivals",
                "two OdpHandlers saw the same record for the same account; it is sent"
                " once, with the first one's settings. Where a notebook's cell ran"
                " twice, logging.basicConfig(handlers=[...], force=True) replaces it",
            )
        return late

    def flush(self) -> None:
        """Send what is buffered, and wait for ``shutdown_timeout`` at most."""
        self._in_vain = not self.client.flush(self.client.config.shutdown_timeout)

    def close(self) -> None:
        """Deliver what is buffered; a record that comes later is still delivered."""
        # logging.shutdown() flushes, then closes: one wait is enough.
        wait = 0.0 if self._in_vain else self.client.config.shutdown_timeout
        self._in_vain = False
        if self._owned:
            self.client.close(wait)
        else:
            self.client.flush(wait)
        super().close()

    def __repr__(self) -> str:
        level = logging.getLevelName(getattr(self, "level", logging.NOTSET))
        # Shown half made in a traceback with local variables, it must not raise.
        return f"<OdpHandler ({level}) {getattr(self, 'client', None)!r}>"

    def __reduce__(self) -> Any:
        if self._owned:
            return _rebuilt, (type(self), self.level, without_secrets(self._settings))
        return _rebuilt, (type(self), self.level, {"client": self.client})


def _rebuilt(
    kind: type[OdpHandler], level: int, settings: dict[str, Any]
) -> OdpHandler:
    return kind(level=level, **settings)


def _origin(record: logging.LogRecord) -> tuple[str, int] | None:
    # A record off the wire may hold anything; the flusher's thread writes this down.
    path = record.__dict__.get("pathname")
    line = record.__dict__.get("lineno")
    return (path, line) if type(path) is str and type(line) is int else None


def _tagged_inside(record: logging.LogRecord) -> bool:
    """Whether a dict within *record* carries the tag: hidden, structlog's, loguru's."""
    return _inside(record) is not None


def _inside(record: logging.LogRecord) -> dict[str, Any] | None:
    fields = record.__dict__
    places: tuple[Any, ...] = (fields.get(HIDDEN), record.msg, fields.get("extra"))
    for found in places:
        # type() and not isinstance(), which asks the object and may run its code.
        if type(found) is str or not issubclass(type(found), dict):
            continue
        if dict.__contains__(found, ACTION):
            return found  # type: ignore[no-any-return]
    return None


def _fields_of(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return the dict that holds the ``odp_*`` fields; None if there are none."""
    fields: dict[str, Any] = record.__dict__
    if ACTION not in fields:
        inside = _inside(record)
        if inside is None:
            return None
        fields = inside
    # Captured by a processor before us?
    return None if type(dict.__getitem__(fields, ACTION)) is Captured else fields


class ContextFilter(logging.Filter):
    """
    Stamps tagged records with what is bound where they are logged.

    For a ``QueueHandler``: its listener emits on a thread of its own, where nothing is
    bound, and structlog's event dict has become text by then. Add it to the queue's
    handler: ``queue_handler.addFilter(ContextFilter())``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp *record* and let it pass."""
        try:
            if ACTION in record.__dict__ or _tagged_inside(record):
                _stamp(record)
        except Exception:  # nothing is raised into a log call; the handler reports it
            pass
        return True


def _stamp(record: logging.LogRecord) -> None:
    fields = _fields_of(record) or {}
    if fields is record.msg:
        for name in FIELDS:
            if dict.__contains__(fields, name):
                record.__dict__.setdefault(name, dict.__getitem__(fields, name))
    context = bound()
    if context is not None:
        # Plain dicts, since a record may be pickled on its way.
        record.__dict__[_CONTEXT] = tuple(
            tuple(dict(layer) for layer in layers) for layers in context
        )
