"""The list of events that `odp_logging.testing` gives to a test."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from .._events.batch import Invalid
from .._events.event import OdpEvent
from .._runtime.text import pluralize
from .matching import Expectation, format_events, format_mismatch


class Events(list[OdpEvent]):
    """
    A list of events, in the order in which they were logged, with assertions.

    Every method compares ``type`` and ``action`` exactly. Of ``identifiers`` and
    ``data``, only the given values are compared. ``data__total=12.5`` names a single
    value, ``data__customer__city`` one within a dict. Values may be given as they were
    logged: a Decimal, a date or a UUID is compared in the form that ODP receives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rejected: list[Invalid] = []
        """Log calls without a valid event: ``reason``, ``message`` and ``origin``."""
        self.origins: dict[OdpEvent, str] = {}
        """File and line of the log calls, as far as they are known."""

    @property
    def places(self) -> dict[OdpEvent, str]:
        """The former name of *origins*."""
        warnings.warn(
            "Events.places is deprecated: use Events.origins",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.origins

    def find(
        self,
        *,
        type: object = None,
        action: object = None,
        identifiers: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Events:
        """Return the events that match; without arguments, all of them."""
        return self._select(Expectation(type, action, identifiers, data, more))

    def assert_one(
        self,
        *,
        type: object = None,
        action: object = None,
        identifiers: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> OdpEvent:
        """
        Return the one event that matches.

        Raises:
            AssertionError: No event matches, or several do. The message compares the
                closest one and lists all.
        """
        __tracebackhide__ = True
        expectation = Expectation(type, action, identifiers, data, more)
        return self._assert_count(expectation, 1)[0]

    def assert_none(
        self,
        *,
        type: object = None,
        action: object = None,
        identifiers: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """
        Assert that no event matches.

        Raises:
            AssertionError: An event matches. The message lists all and marks it.
        """
        __tracebackhide__ = True
        self._assert_count(Expectation(type, action, identifiers, data, more), 0)

    def assert_count(
        self,
        count: int,
        *,
        type: object = None,
        action: object = None,
        identifiers: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Events:
        """
        Return the events that match, if there are *count* of them.

        Raises:
            AssertionError: There are more or fewer. The message lists all events and
                marks those that match.
        """
        __tracebackhide__ = True
        return self._assert_count(
            Expectation(type, action, identifiers, data, more), count
        )

    def clear(self) -> None:
        """Remove all events, including the rejected ones."""
        super().clear()
        self.rejected.clear()
        self.origins.clear()

    def _select(self, expectation: Expectation) -> Events:
        found = Events()
        found.extend(event for event in tuple(self) if expectation.matches(event))
        found.origins = self.origins
        found.rejected = self.rejected
        return found

    # `__tracebackhide__`, here and above: pytest shows the line of the test instead.
    def _assert_count(self, expectation: Expectation, count: int) -> Events:
        __tracebackhide__ = True
        found = self._select(expectation)
        if len(found) == count:
            return found
        values = f" with {expectation}" if str(expectation) else ""
        expected = f"{count or 'no'} {pluralize('event', count)}"
        raise AssertionError(
            format_mismatch(
                f"expected {expected}{values}; got {len(found) or 'none'}",
                expectation,
                tuple(self),
                self.origins,
                tuple(self.rejected),
                show_closest=len(found) < count,
            )
        )

    def __str__(self) -> str:
        """Return a line for each event; lines may contain customers' identifiers."""
        return "\n".join(format_events(tuple(self), tuple(self.rejected)))

    def __repr__(self) -> str:
        # pytest shows the repr of a failed assert: one line, without customers' values.
        return f"<Events: {len(self)}, and {len(self.rejected)} rejected>"
