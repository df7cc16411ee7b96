"""The command ``send``: events from the shell, and what became of them."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._assembly import builder_of
from ._config import Config, Destination, load
from ._event import OdpEvent
from ._finding import counted
from ._mapping import capture
from ._reports import masked
from ._spools import Failed
from .exceptions import ConfigurationError, InvalidEventError
from .stores._base import Batch
from .transports._http import Http
from .transports._retry import Retry

DELIVERED, REJECTED, UNDELIVERED = 0, 1, 3
"""Exit statuses; 2 is for what cannot be read."""

_PARTS = frozenset(
    {"action", "type", "identifiers", "data", "timestamp", "idempotence_id"}
)


@dataclass(slots=True)
class Outcome:
    """What became of the events of one command."""

    delivered: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    undelivered: int = 0
    kept: int = 0
    error: str = ""

    @property
    def status(self) -> int:
        """The exit status."""
        if self.undelivered:
            return UNDELIVERED
        return REJECTED if self.rejected else DELIVERED


def send(
    described: Iterable[Mapping[str, Any]],
    *,
    seconds: float,
    spool: str | None,
    as_json: bool,
) -> int:
    """
    Send the events *described*, print what became of them, and return the status.

    Args:
        seconds: After which no more attempt is made.
        spool: Directory in which to keep what could not be delivered; else that of
            ``ODP_SPOOL``.

    Raises:
        Failed: There is no key, or a setting cannot be used.
    """
    try:
        config = load({"spool": spool}, warn=lambda kind, message: None)
    except ConfigurationError as error:
        raise Failed(str(error)) from None
    destination = config.destination()
    if destination is None:
        raise Failed(
            "ODP_API_KEY is not set; find the public key in ODP under Account Settings"
            " > APIs, or run odp-logging emulator and set ODP_API_KEY=test"
            " ODP_API_HOST=http://127.0.0.1:8181"
        )
    if not config.enabled:
        raise Failed("ODP_ENABLED is off; unset it to send")
    outcome = Outcome()
    events = _made(described, config, outcome)
    rest = _sent(events, config, destination, seconds, outcome)
    outcome.undelivered = len(rest)
    if rest and config.spool is not None:
        outcome.kept = _kept(rest, config, destination, outcome)
    _tell(outcome, config.spool, as_json=as_json)
    return outcome.status


def _made(
    described: Iterable[Mapping[str, Any]], config: Config, outcome: Outcome
) -> list[tuple[int, OdpEvent]]:
    build = builder_of(config)
    made = []
    for place, each in enumerate(described):
        fields = {f"odp_{name}": value for name, value in each.items()}
        logged = capture(
            fields, time=time.time(), origin=None, bound=None, redact=config.redact
        )
        try:
            event = build(logged)
        except InvalidEventError as error:
            outcome.rejected.append((place, f"{error}"))
            continue
        except Exception as error:  # before_send is the application's code
            text = f"making the event raised {type(error).__name__}"
            outcome.rejected.append((place, text))
            continue
        if event is None:
            outcome.rejected.append((place, "before_send left it out"))
        else:
            made.append((place, event))
    return made


def _sent(
    events: Sequence[tuple[int, OdpEvent]],
    config: Config,
    destination: Destination,
    seconds: float,
    outcome: Outcome,
) -> list[OdpEvent]:
    """Send *events*, with retries, and return those that could not be delivered."""
    deadline = time.monotonic() + seconds
    http = Http(
        destination.api_host,
        destination.api_key,
        timeout=min(config.timeout, seconds),
        direct=destination.is_loopback,
    )
    transport = Retry(http, max_delay=config.max_retry_delay)
    pause = threading.Event()
    rest = list(events)
    try:
        while rest:
            places, batch = _batch(rest, config)
            answer = transport.send(batch, deadline=deadline)
            outcome.delivered += len(answer.accepted)
            for position, reason in answer.rejected.items():
                hidden = masked(reason, batch.events[position])
                outcome.rejected.append((places[position], hidden))
            rest = [rest[n] for n in answer.pending] + rest[len(places) :]
            if not answer.pending:
                continue
            outcome.error = answer.message
            wait = max(answer.backoff, answer.retry_after)
            late = time.monotonic() + wait > deadline
            if answer.is_misconfigured or late:
                break
            pause.wait(wait)
    finally:
        transport.close()
    return [event for _, event in rest]


def _batch(
    rest: Sequence[tuple[int, OdpEvent]], config: Config
) -> tuple[list[int], Batch]:
    places: list[int] = []
    events: list[OdpEvent] = []
    size = 2
    for place, event in rest[: config.max_batch_size]:
        size += event.size + 1
        if events and size > config.max_batch_bytes:
            break
        places.append(place)
        events.append(event)
    return places, Batch(events)


def _kept(
    rest: Sequence[OdpEvent],
    config: Config,
    destination: Destination,
    outcome: Outcome,
) -> int:
    from .stores import _directory
    from .stores._spoolfile import SpoolError, SpoolFile

    assert config.spool is not None
    try:
        _directory.prepare(config.spool)
        file = SpoolFile(_directory.create(config.spool, destination.account))
        try:
            file.add([event.json for event in rest], 1)
        finally:
            file.close()
    except (OSError, SpoolError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        outcome.error += f"; the spool cannot be used: {reason}"
        return 0
    return len(rest)


def _tell(outcome: Outcome, spool: Path | None, *, as_json: bool) -> None:
    if as_json:
        told = {
            "delivered": outcome.delivered,
            "rejected": [{"event": n, "reason": why} for n, why in outcome.rejected],
            "undelivered": outcome.undelivered,
            "kept": outcome.kept,
            "error": outcome.error if outcome.undelivered else "",
        }
        print(json.dumps(told))
        return
    if outcome.delivered:
        print(f"{counted(outcome.delivered, 'event')} delivered")
    for number, reason in outcome.rejected:
        print(f"event {number + 1} rejected: {reason}", file=sys.stderr)
    if outcome.undelivered:
        advice = f"kept in {spool}, and sent by the next process that uses it"
        if not outcome.kept:
            advice = "not kept; send again, or name a --spool"
        print(
            f"{counted(outcome.undelivered, 'event')} not delivered: {outcome.error};"
            f" {advice}",
            file=sys.stderr,
        )


# Words of the command line.


def pair(text: str) -> tuple[str, Any]:
    """
    Return name and value of ``name=text`` or ``name:=JSON``.

    Raises:
        ValueError: It is neither.
    """
    found = re.fullmatch(r"([^=]*?[^=:])(:?=)(.*)", text, re.DOTALL)
    if found is None:
        raise ValueError("it is neither name=text nor name:=JSON")
    name, sign, value = found.groups()
    if sign == "=":
        return name, value
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(f"what follows {name}:= is no JSON") from None


def read(text: str) -> list[dict[str, Any]]:
    """
    Return the events that *text* describes: a JSON object, a list, or JSON lines.

    Raises:
        Failed: It describes none, or something else.
    """
    try:
        whole = json.loads(text)
        found = whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        found = [_object(line) for line in text.splitlines() if line.strip()]
    for number, each in enumerate(found, 1):
        if not isinstance(each, dict) or "action" not in each or each.keys() - _PARTS:
            raise Failed(
                f"event {number} of the input is no object with an action and nothing"
                f" but {', '.join(sorted(_PARTS))}; nothing was sent"
            )
    if not found:
        raise Failed("the input is empty; give a JSON object for each event")
    return found


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
