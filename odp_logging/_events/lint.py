"""
Finds values that ODP accepts and then ignores, which are likely mistakes.

`Builder` calls this for the first events of a client, and reports each kind once. The
emulator checks all events, and more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .event import OdpEvent

_STANDARD_IDENTIFIERS = frozenset(
    {
        "customer_id",
        "email",
        "fs_user_id",
        "phone",
        "vuid",
        "web_user_id",
        "zaius_id",
    }
)
_CUSTOM_IDENTIFIER = re.compile(
    "(?:[a-z][a-z0-9_]*_)?(?:id|hash|number|token|alias|address|key)"
)
"""Name of an identifier that can be created in ODP (ODP user docs, "Identifiers")."""

_SAFE_NAME = re.compile("[A-Za-z][A-Za-z0-9_.-]{0,39}")
"""Other names are not repeated in a log: they may be values."""

# The only nested fields that ODP documents.
_ORDER_FIELDS = frozenset({"items", "order"})
_MAX_FUTURE_SECONDS = 3600.0


def check_event(event: OdpEvent, now: float) -> Iterator[tuple[str, str]]:
    """
    Yield the kind of each likely mistake in *event*, and a message.

    Args:
        now: The current time, in epoch seconds.
    """
    for name in event.identifiers:
        if name not in _STANDARD_IDENTIFIERS and not _CUSTOM_IDENTIFIER.fullmatch(name):
            yield "identifier_name", _format_identifier(name)
    yield from _check_data(event, now)


def _format_identifier(name: str) -> str:
    known = _find_standard(name)
    if known:
        return f'the identifier "{name}" is not one of ODP; did you mean "{known}"?'
    return (
        f"{_quote(name)} cannot be an identifier in ODP: the name of a custom one is"
        " lower snake_case and ends in id, hash, number, token, alias, address or key."
        " The event is sent with it"
    )


def _find_standard(name: str) -> str | None:
    """Return the standard identifier that is spelled like *name*."""
    by_name = {known.replace("_", ""): known for known in _STANDARD_IDENTIFIERS}
    return by_name.get(re.sub("[-_. ]", "", name).lower())


def _check_data(event: OdpEvent, now: float) -> Iterator[tuple[str, str]]:
    data: Mapping[str, Any] = event.data
    for name, value in data.items():
        if type(value) in (list, dict) and not (
            event.type == "order" and name in _ORDER_FIELDS
        ):
            kind = "list" if type(value) is list else "dict"
            yield (
                "nested",
                f"{_quote(name)} in odp_data is a {kind}, for which ODP has no field;"
                " the event is sent with it. Log its values as fields of their own",
            )
        known = _find_standard(name)
        if known and known not in event.identifiers:
            yield (
                "identifier_in_data",
                f'"{known}" is in odp_data and not in odp_identifiers: ODP does not'
                " find the customer by it. Move it, unless that is meant",
            )
    stamp = data.get("ts")
    if isinstance(stamp, (int, float)) and stamp > now + _MAX_FUTURE_SECONDS:
        yield (
            "time_ahead",
            "the time of the event is in the future by more than an hour; the event is"
            " sent with it. Check odp_timestamp, which is in seconds",
        )


def _quote(name: str) -> str:
    return f'"{name}"' if _SAFE_NAME.fullmatch(name) else "a name"
