"""Runs the application's `before_send`, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._runtime.locations import format_callback, format_error, never_returns_value
from ..exceptions import InvalidEventError

if TYPE_CHECKING:
    from .._events.event import OdpEvent

_WARN_AFTER_EVENTS = 20
"""First events that are all left out, from which on a missing ``return`` is likely. A
filter may well leave out the few events of a short program."""

_KIND = "before_send:none"
_HINT = "Return the event, and None only for an event that is to be left out"


class BeforeSend:
    """
    Calls *function* with each event.

    Args:
        run: Calls a callback with its argument, and rejects what it logs meanwhile.
        warn: Called with kind and message if every event has been left out.
    """

    def __init__(
        self,
        function: Callable[[OdpEvent], OdpEvent | None],
        run: Callable[..., Any],
        warn: Callable[[str, str], object],
    ) -> None:
        self._function = function
        self._run = run
        self._warn = warn
        self._left_out = 0
        self._has_returned_event = False

    def __call__(self, event: OdpEvent) -> OdpEvent | None:
        """
        Return what the function returns.

        Raises:
            InvalidEventError: It raised. It may have had to remove something, so the
                event is not sent.
        """
        try:
            changed: OdpEvent | None = self._run(self._function, event)
        # SystemExit too: it would end the thread that sends.
        # Not BaseException: pytest's failures, for example, have to reach the test.
        except (Exception, SystemExit) as error:
            cause = format_error("before_send", self._function, error)
            raise InvalidEventError(
                f"{cause}. Fix the function", reason="not_buildable"
            ) from None
        if changed is not None:
            self._has_returned_event = True
        elif not self._has_returned_event:
            self._count_left_out()
        return changed

    def _count_left_out(self) -> None:
        self._left_out += 1
        if self._left_out == _WARN_AFTER_EVENTS:
            name = format_callback("before_send", self._function)
            self._warn(
                _KIND,
                f"{name} returned None for each of the first {_WARN_AFTER_EVENTS}"
                f" events; none of them is sent. {_HINT}",
            )


def check_before_send(function: Any, warn: Callable[[str, str], object]) -> None:
    """Warn of a `before_send` that certainly leaves out every event."""
    if never_returns_value(function):
        name = format_callback("before_send", function)
        warn(_KIND, f"{name} never returns an event; no event is sent. {_HINT}")
