"""What a hostile record is, and what may become of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

WHO = {"fs_user_id": "u1"}
"""Whom a record is about, unless that is its point."""

Fields = dict[Any, Any]


@dataclass(frozen=True)
class Sent:
    """
    The record is sent, as exactly this event.

    Args:
        data: All of it but the default data; texts may be given as a `re.Pattern`.
        adjusted: What was changed to fit, by kind.
        ts: The time in it; None for that of the log call.
        id: The idempotence id; None for a new one.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=lambda: WHO)
    action: str = "viewed"
    type: str = "fullstack"
    adjusted: Mapping[str, int] = field(default_factory=dict)
    ts: Any = None
    id: str | None = None


@dataclass(frozen=True)
class Rejected:
    """The record is rejected, counted under this reason."""

    reason: str


@dataclass(frozen=True)
class Dropped:
    """The record is dropped, counted under this reason."""

    reason: str


@dataclass(frozen=True)
class Ignored:
    """The record is no event: nothing is sent and nothing is counted."""


Outcome = Sent | Rejected | Dropped | Ignored


def as_extra(logger: logging.Logger, fields: Fields) -> None:
    """Log *fields* the way an application does."""
    logger.info("hostile", extra=fields)


@dataclass(frozen=True)
class Record:
    """
    A hostile record.

    Args:
        make: Returns its fields, new ones every time.
        outcome: What must become of it.
        after: Called with the fields once the log call is over.
        log: Logs it, if it is more than the ``extra`` of a log call.
    """

    name: str
    make: Callable[[], Fields]
    outcome: Outcome
    after: Callable[[Fields], object] = lambda fields: None
    log: Callable[[logging.Logger, Fields], object] = as_extra


def fields(**named: Any) -> Fields:
    """Return the fields of a good record, those that are *named* replaced."""
    good = {"action": "viewed", "identifiers": dict(WHO), **named}
    return {f"odp_{name}": value for name, value in good.items()}


def value(name: str, make: Callable[[], Any], becomes: Any, **adjusted: int) -> Record:
    """Return a record with one hostile value in its data, and what it becomes."""
    sent = Sent({"value": becomes}, adjusted=adjusted)
    return Record(name, lambda: fields(data={"value": make()}), sent)


def data(name: str, make: Callable[[], Any], becomes: Any, **adjusted: int) -> Record:
    """Return a record with hostile data, and what it becomes."""
    sent = Sent(becomes, adjusted=adjusted)
    return Record(name, lambda: fields(data=make()), sent)


def who(name: str, make: Callable[[], Any], becomes: Any, **adjusted: int) -> Record:
    """Return a record with hostile identifiers, and what they become."""
    sent = Sent(identifiers=becomes, adjusted=adjusted)
    return Record(name, lambda: fields(identifiers=make()), sent)


def nobody(name: str, make: Callable[[], Any], reason: str) -> Record:
    """Return a record whose identifiers are the reason to reject it."""
    return Record(name, lambda: fields(identifiers=make()), Rejected(reason))
