"""The fields of an event as a typed dict, for the ``extra=`` of a log call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict


class EventFields(TypedDict, total=False):
    """The keys of a record that make it an event."""

    odp_action: str
    odp_identifiers: Mapping[str, Any]
    odp_type: str
    odp_data: Mapping[str, Any]
    odp_timestamp: float | datetime | str


def event(
    action: str,
    identifiers: Mapping[str, Any] | None = None,
    *,
    type: str | None = None,
    data: Mapping[str, Any] | None = None,
    timestamp: float | datetime | str | None = None,
) -> EventFields:
    """
    Return the fields of an event, for ``extra=`` of logging and ``**`` of structlog.

        logger.info("purchase", extra=event("purchased", {"email": email}))
        log.info("purchase", **event("purchased", {"email": email}))

    Type checkers check the arguments, which they cannot do for the keys of a dict.
    Values are checked where the record is handled, like those of any other record. So
    this never raises for a value: it is rejected there, with file and line.

    Args:
        action: What happened, for example ``"purchased"``.
        identifiers: The customer's identifiers, besides bound and default ones.
        type: The kind of event; by default ``"fullstack"``.
        data: Additional fields of the event.
        timestamp: When it happened: epoch seconds, a datetime, or ISO 8601 text. By
            default the time of the log call.
    """
    fields: EventFields = {"odp_action": action}
    if identifiers is not None:
        fields["odp_identifiers"] = identifiers
    if type is not None:
        fields["odp_type"] = type
    if data is not None:
        fields["odp_data"] = data
    if timestamp is not None:
        fields["odp_timestamp"] = timestamp
    return fields


event.__module__ = "odp_logging"
