"""
Warns of log calls that were meant to be events, once for each position in the code.

The handler asks whether a line is in `SEEN_LINES`, which costs about 25 ns. Only
for a new one does it call `inspect_record`.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from . import interception
from .context import CONTEXT
from .fields import ACTION, CAPTURED_BY, FIELD_NAMES, FIELDS, read_hidden
from .near_miss import find_missing_extra, find_near_miss, is_candidate

if TYPE_CHECKING:
    from .._runtime.diagnostics import Diagnostics

PLAIN_FIELD_COUNT = len(logging.makeLogRecord({}).__dict__)
"""Attributes of a record without ``extra``, if no handler has formatted it."""

MAX_LINES = 4000
"""Source may be generated. Later lines are not inspected."""


class _SeenLines(dict[Any, set[Any]]):
    """The lines of each file whose log calls were inspected."""

    is_full = False
    _count = 0

    # Stores nothing, since the handler looks up every line of the application.
    def __missing__(self, path: Any) -> frozenset[Any]:
        return _NO_LINES

    def add(self, path: Any, line: Any) -> bool:
        """Add a line; return whether it is new and is to be inspected."""
        if self.is_full or line in self[path]:
            return False
        self.setdefault(path, set()).add(line)
        self._count += 1
        self.is_full = self._count >= MAX_LINES
        return True

    def clear(self) -> None:
        """Forget all lines, as before each test."""
        super().clear()
        self._count = 0
        self.is_full = False


_NO_LINES: frozenset[Any] = frozenset()

SEEN_LINES = _SeenLines()

IGNORED_NAMES: set[Any] = set()
"""Names in event dicts that resemble no field. structlog finds no line at low cost, so
names are remembered there, and not positions."""

IGNORED_NAMES_WITH_TAG: set[Any] = set(FIELDS)
"""The same for event dicts that have ``odp_action``."""


class KnownNames(NamedTuple):
    """
    What the names in an event dict that has ``odp_action`` say about it.

    Args:
        common_count: For `capture_plain`.
        fields: Those of ODP, which are not printed.
    """

    common_count: int
    fields: tuple[str, ...]


_known_names: dict[tuple[Any, ...], KnownNames] = {}

_IGNORED_COMBINATIONS: set[tuple[Any, ...]] = set()
"""Names that resemble a field, but are no mistake together, as bound identifiers."""

# Names of fields may be generated; then no more of them are learnt.
_MAX_NAMES = 4000
_MAX_COMBINATIONS = 1000
_MAX_FRAMES = 30
_LOG_CODE = logging.Logger._log.__code__
_ADAPTER_CODE = logging.LoggerAdapter.log.__code__
_STRUCTLOG_BASE = "structlog._base"


def inspect_record(record: logging.LogRecord) -> None:
    """Warn if *record*, tagged or not, looks like a mistake. Never raises."""
    try:
        fields = record.__dict__
        path, line = fields["pathname"], fields["lineno"]
        if _is_structlog_line(path):
            path, line = find_application_call() or (path, line)
        if not SEEN_LINES.add(path, line):
            return
        given = _collect_fields(record)
        message = _check_record(record, given)
        if message is not None:
            _report(f"{path}:{line}", message, is_event=ACTION in given)
    except Exception:  # must not raise into a log call; the record is handled as ever
        pass


def _is_structlog_line(path: Any) -> bool:
    """Whether structlog called a logger that does not skip structlog's frames."""
    module = sys.modules.get(_STRUCTLOG_BASE)
    return module is not None and path == module.__file__


def _check_record(record: logging.LogRecord, fields: dict[Any, Any]) -> str | None:
    message = find_near_miss(fields, can_be_bound=_can_be_bound())
    if message is None and ACTION not in fields and type(record.args) is dict:
        return find_missing_extra(str(record.msg), record.args)
    return message


def _collect_fields(record: logging.LogRecord) -> dict[Any, Any]:
    """Return the fields of *record* and of the dicts in which inputs look for them."""
    found = {**record.__dict__, **read_hidden(record.__dict__)}
    for inner in (record.msg, record.__dict__.get("extra")):
        # Not isinstance(), which reads __class__ and may run the application's code.
        if issubclass(type(inner), dict):
            found.update(dict.items(inner))  # type: ignore[arg-type]
    return found


def _can_be_bound() -> bool:
    """
    Return whether the fields of the current record may be others than the call's.

    A `LoggerAdapter`, a filter and structlog add fields to records of many log calls.
    On the thread of a `QueueListener` it cannot be known.
    """
    is_given = False
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code is _LOG_CODE:
            extra = frame.f_locals.get("extra")
            is_given = type(extra) is dict and not FIELDS.isdisjoint(extra)
        elif (
            frame.f_code is _ADAPTER_CODE
            or frame.f_globals.get("__name__") == _STRUCTLOG_BASE
        ):
            return True
        frame = frame.f_back
    return not is_given


def inspect_event_dict(event_dict: Mapping[Any, Any]) -> None:
    """Warn if structlog's *event_dict* looks like a mistake."""
    record = event_dict.get("_record")
    if isinstance(record, logging.LogRecord):
        # In a ProcessorFormatter: the record knows its line, and has all fields.
        inspect_record(record)
        return
    names = tuple(event_dict)
    if names in _IGNORED_COMBINATIONS or len(IGNORED_NAMES) >= _MAX_NAMES:
        return
    ignored = [name for name in names if not is_candidate(name)]
    IGNORED_NAMES.update(ignored)
    IGNORED_NAMES_WITH_TAG.update(ignored)
    if len(ignored) == len(names):
        return
    message = find_near_miss(event_dict)
    if message is not None and ACTION not in event_dict:
        message = _check_call_arguments(event_dict)
    if message is None:
        if len(_IGNORED_COMBINATIONS) < _MAX_NAMES:
            _IGNORED_COMBINATIONS.add(names)
        return
    path, line = find_application_call() or ("", 0)
    if SEEN_LINES.add(path, line):
        _report(f"{path}:{line}", message, is_event=ACTION in event_dict)


_COMMON_NAMES = frozenset(("odp_identifiers", "odp_data"))
_UNCOMMON_NAMES = FIELDS.difference(_COMMON_NAMES, (ACTION,)) | {CONTEXT, CAPTURED_BY}


def recognize_names(event_dict: Mapping[Any, Any]) -> KnownNames | None:
    """
    Return what the names in a tagged *event_dict* say; None for the general path.

    The general path inspects names that were not seen before, and records.
    """
    names = tuple(event_dict)
    known = _known_names.get(names)
    if known is not None:
        return known
    if not IGNORED_NAMES_WITH_TAG.issuperset(names) or "_record" in names:
        return None
    is_common = _COMMON_NAMES.issubset(names) and _UNCOMMON_NAMES.isdisjoint(names)
    known = KnownNames(
        len(names) if is_common else 0,
        tuple(name for name in FIELD_NAMES if name in names),
    )
    if len(_known_names) < _MAX_COMBINATIONS:
        _known_names[names] = known
    return known


_SKIPPED_PACKAGES = frozenset({"structlog", "odp_logging", "logging"})

_MAX_MODULES = 10_000


class _SkippedModules(dict[Any, bool]):
    """Whether frames of a module lie between a log call and the processor, by name."""

    def __missing__(self, name: Any) -> bool:
        is_skipped = str(name).partition(".")[0] in _SKIPPED_PACKAGES
        if len(self) < _MAX_MODULES:
            self[name] = is_skipped
        return is_skipped


_SKIPPED_MODULES = _SkippedModules()


def find_application_call(depth: int = 1) -> tuple[str, int] | None:
    """
    Return file and line of the log call, past structlog's and logging's frames.

    Args:
        depth: Index of the first frame to look at, 1 for the caller's. Those below are
            of this library. A look at a frame takes 0.2 µs.
    """
    contextvars = sys.modules.get("structlog.contextvars")
    calling = getattr(contextvars, "_ASYNC_CALLING_STACK", None)
    # Set by await log.ainfo(...), which runs on an executor's thread.
    frame: FrameType | None = None if calling is None else calling.get(None)
    if frame is None:
        frame = sys._getframe(depth)
    while frame is not None:
        if not _SKIPPED_MODULES[frame.f_globals.get("__name__")]:
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def _check_call_arguments(event_dict: Mapping[Any, Any]) -> str | None:
    """Return what is wrong with the arguments of the log call, without bound fields."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_globals.get("__name__") == _STRUCTLOG_BASE:
            given = frame.f_locals.get("event_kw")
            if type(given) is dict:
                found = {
                    name: value for name, value in event_dict.items() if name in given
                }
                message = find_near_miss(found)
                if message is not None:
                    return message
                break
        frame = frame.f_back
    # Another wrapper, or fields of the bound logger.
    return find_near_miss(event_dict, can_be_bound=True)


def _report(origin: str, message: str, *, is_event: bool) -> None:
    outcome = "the field is ignored" if is_event else "no event was sent"
    _get_diagnostics().warn(f"near_miss:{origin}", f"{origin}: {outcome}: {message}")
    for listener in interception.near_miss_listeners:
        listener(origin, message)


@functools.cache
def _get_diagnostics() -> Diagnostics:
    # A record that is no near miss needs none.
    from .._runtime.diagnostics import Diagnostics

    return Diagnostics()
