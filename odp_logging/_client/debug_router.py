"""The setting ``debug`` on the thread of a log call: a line for each event.

`build_router` chooses this router, so that log calls without the setting pay nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._flusher.debug import DebugReports
from .router import Router

if TYPE_CHECKING:
    from .._events.event import OdpEvent
    from .._stores.inbox import EventHolder
    from .destinations import NoDestination
    from .outbox.base import Outcome


class DebugRouter(Router):
    """A `Router` that also writes a debug line for each event that it gets."""

    @property
    def _reports(self) -> DebugReports:
        # Of the current flusher: another destination has another one.
        reports = self._destinations.flusher.reports
        assert isinstance(reports, DebugReports)  # `pipeline` chose it by the setting
        return reports

    def report_start(self) -> None:
        """Report that the setting is on, and where the events go."""
        config, target = self._config, self._destinations.current
        if not config.enabled:
            text = f"enabled is off, from {config.find_source('enabled')}"
        elif target is None:
            text = "no destination yet"
        elif config.queue_url is not None:
            text = f"events go to {target.display_url}"
        else:
            source = config.find_source("api_key")
            text = f"events go to {target.display_url}, with the key from {source}"
        self._reports.report_start(text)

    def put(
        self, holder: EventHolder, *, urgent: bool, origin: tuple[str, int] | None
    ) -> None:
        """Report the event in *holder*, and put it where it belongs."""
        # First: with ``background=False`` the event is sent within the call below.
        try:
            self._reports.report_captured(holder[0], origin)
        except Exception:  # no stack, or a signal handler raised: the event goes on
            pass
        super().put(holder, urgent=urgent, origin=origin)

    def _drop(self, holder: EventHolder, policy: NoDestination) -> None:
        super()._drop(holder, policy)
        self._reports.report_no_destination(policy.drop_reason)

    def _settle_outbox(
        self, holder: EventHolder, event: OdpEvent, urgent: bool, outcome: Outcome
    ) -> None:
        is_settled = not holder
        super()._settle_outbox(holder, event, urgent, outcome)
        if not is_settled:
            self._reports.report_outbox(event, outcome.value)

    def _report_rejected(
        self, reason: str, message: str, origin: tuple[str, int] | None
    ) -> bool:
        is_written = super()._report_rejected(reason, message, origin)
        if not is_written:
            self._reports.report_rejected(message, origin)
        return is_written
