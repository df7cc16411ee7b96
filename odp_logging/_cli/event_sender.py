"""Builds and sends events on the calling thread, for the command ``send``.

A client delivers in the background and keeps counts. The command reports what became of
each event.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._capture.capture import capture
from .._client.builders import build_event_builder
from .._config.destination import Destination
from .._config.settings import Config
from .._events.batch import Batch, count_per_request
from .._events.delivery import Delivery
from .._events.event import OdpEvent
from .._events.masking import mask_reason
from .._flusher.senders import build_http_sender
from .._runtime.lock import monotonic
from .._transports.base import BaseTransport
from ..exceptions import InvalidEventError


@dataclass(slots=True)
class Outcome:
    """What became of the events of one command."""

    delivered: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    """Position in the input, and reason."""
    warnings: list[tuple[int, str]] = field(default_factory=list)
    """Position in the input, and what is probably wrong with the event."""
    undelivered: int = 0
    kept: int = 0
    """Undelivered events that are in the spool."""
    error: str = ""


class EventSender:
    """
    Sends events and records their outcome.

    Call `build_events`, then `send`, then `keep_pending` if there is a spool.
    """

    def __init__(self, config: Config, destination: Destination) -> None:
        self.outcome = Outcome()
        self._config = config
        self._destination = destination
        self._pending: list[tuple[int, OdpEvent]] = []

    def build_events(
        self, descriptions: Iterable[Mapping[str, Any]], *, identifier_hint: str
    ) -> None:
        """
        Build the events of *descriptions*; those that give none are rejected.

        The warnings that a log call with the same values would give are recorded.

        Args:
            identifier_hint: What to do about an event without identifiers.
        """
        # Read by the callback below, whenever a build warns.
        index = 0

        def record_warning(kind: str, text: str, *, location: str = "") -> None:
            self.outcome.warnings.append((index, text))

        build = build_event_builder(self._config, record_warning)
        for index, description in enumerate(descriptions):
            captured = capture(
                {f"odp_{name}": value for name, value in description.items()},
                time=time.time(),
                origin=None,  # there is no log call
                bound=None,
                redact=self._config.redact,
            )
            try:
                event = build(captured)
            except InvalidEventError as error:
                reason = str(error)
                # The error's own advice is for Python.
                if error.reason == "no_identifiers" and not (
                    description.get("identifiers") or self._config.default_identifiers
                ):
                    reason = f"no identifiers; {identifier_hint}"
                self.outcome.rejected.append((index, reason))
            except Exception as error:  # before_send is the application's code
                reason = f"building the event raised {type(error).__name__}"
                self.outcome.rejected.append((index, reason))
            else:
                if event is None:
                    self.outcome.rejected.append((index, "before_send left it out"))
                else:
                    self._pending.append((index, event))

    def send(self, *, seconds: float) -> None:
        """Send the events, with retries, until all are settled or time is up."""
        deadline = monotonic() + seconds
        # A request may not outlast the command's own time limit.
        config = self._config.copy_with(timeout=min(self._config.timeout, seconds))
        transport = build_http_sender(config, self._destination)
        pause = threading.Event()
        try:
            while self._pending:
                delivery = self._send_batch(transport, deadline)
                if not delivery.pending:
                    continue
                self.outcome.error = delivery.message
                wait = max(delivery.backoff, delivery.retry_after)
                # A wrong key stays wrong, and a retry after the deadline is none.
                if delivery.is_misconfigured or monotonic() + wait > deadline:
                    break
                pause.wait(wait)
        finally:
            transport.close()
        self.outcome.undelivered = len(self._pending)

    def _send_batch(self, transport: BaseTransport, deadline: float) -> Delivery:
        """Send the first events in one request; those that are settled leave."""
        first = self._pending[: self._config.max_batch_size]
        sizes = [len(event.json) for _, event in first]
        first = first[: count_per_request(sizes, self._config.max_batch_bytes)]
        batch = Batch([event for _, event in first])
        delivery = transport.send(batch, deadline=deadline)
        self.outcome.delivered += len(delivery.accepted)
        for position, reason in delivery.rejected.items():
            index, event = first[position]
            self.outcome.rejected.append((index, mask_reason(reason, event)))
        self._pending[: len(first)] = [first[number] for number in delivery.pending]
        return delivery

    def keep_pending(self) -> None:
        """Write the events that are not delivered to the spool."""
        # Imported here: a Python without sqlite3 can send without a spool.
        from .._stores.spool import directory as _directory
        from .._stores.spool.errors import SpoolError
        from .._stores.spool.file import SpoolFile

        spool, account = self._config.spool, self._destination.fingerprint
        if spool is None or not self._pending:
            return
        try:
            _directory.prepare(spool)
            file = SpoolFile(_directory.create_file(spool, account))
            try:
                file.add([event.json for _, event in self._pending], 1)
            finally:
                file.close()
        except (OSError, SpoolError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.outcome.error += f"; the spool cannot be used: {reason}"
        else:
            self.outcome.kept = len(self._pending)
