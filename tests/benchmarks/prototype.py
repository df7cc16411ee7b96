"""A plain handler that does the same work: the floor where a bare call is too little.

It copies both dicts, and its thread builds the events, encodes them with json and posts
them with `requests`. It checks nothing, keeps everything and survives no failure.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections import deque
from typing import Any

import requests

from ..waiting import until
from .sink import Sink

BATCH = 100
"""Events of a request."""

_INTERVAL_SECONDS = 1.0
_HEADERS = {"Content-Type": "application/json", "x-api-key": "key"}


class PrototypeHandler(logging.Handler):
    """Copies tagged records; a daemon thread sends them to *sink*."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sent = 0
        self._logged = 0
        self._waiting: deque[tuple[str, dict[str, Any], dict[str, Any], float]]
        self._waiting = deque()
        self._due = threading.Event()
        self._is_flushing = False
        self._url = f"{sink.host}/v3/events"
        self._session = requests.Session()
        self._session.trust_env = False
        threading.Thread(target=self._send_all, daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep what the event needs."""
        fields = record.__dict__
        self._waiting.append(
            (
                fields["odp_action"],
                fields["odp_identifiers"].copy(),
                fields["odp_data"].copy(),
                record.created,
            )
        )
        self._logged += 1
        if self._logged % BATCH == 0:
            self._due.set()
        return True

    def flush(self) -> None:
        """Wait until all events are delivered."""
        # Called by logging at exit too, where nothing is left.
        self._is_flushing = True
        self._due.set()
        until(lambda: self.sent == self._logged, "the prototype's events")
        self._is_flushing = False

    def _send_all(self) -> None:
        while True:
            self._due.wait(_INTERVAL_SECONDS)
            self._due.clear()
            while len(self._waiting) >= BATCH:
                self._send(BATCH)
            if self._is_flushing and self._waiting:
                self._send(len(self._waiting))

    def _send(self, count: int) -> None:
        events = [_build_event(*self._waiting.popleft()) for _ in range(count)]
        body = json.dumps(events).encode()
        answer = self._session.post(
            self._url, data=body, headers=_HEADERS, timeout=10, allow_redirects=False
        )
        assert answer.status_code == 202, answer.status_code
        self.sent += count


def _build_event(
    action: str, identifiers: dict[str, Any], data: dict[str, Any], created: float
) -> dict[str, Any]:
    return {
        "type": "fullstack",
        "action": action,
        "identifiers": identifiers,
        "data": {
            "idempotence_id": str(uuid.uuid4()),
            "data_source_type": "sdk",
            "data_source": "prototype",
            "data_source_version": "1.0.0",
            "ts": int(created),
            **data,
        },
    }
