"""A list of events that a test can ask: what `odp_logging.testing` hands out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._event import OdpEvent
from ._matching import Wanted, explained, listed
from .stores._base import Invalid


class Events(list[OdpEvent]):
    """
    A list of events, in the order in which they were logged, that can be asked.

    In every question, ``type`` and ``action`` are compared whole; ``identifiers`` and
    ``data`` name some of those an event has; ``data__total=12.5`` names a single value,
    ``data__customer__city`` one within a dict. Values may be given as they were logged:
    a Decimal, a date or a UUID means what ODP gets for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rejected: list[Invalid] = []
        """What could not become an event: ``reason``, ``message`` and ``origin``."""
        self.places: dict[OdpEvent, str] = {}
        """File and line of the log calls, as far as they are known."""

    def find(
        self,
        *,
        type: object = None,
        action: object = None,
        identifiers: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Events:
        """Return those that fit; all of them if nothing is asked for."""
        return self._found(Wanted(type, action, identifiers, data, more))

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
        Return the one event that fits.

        Raises:
            AssertionError: None does, or several do; with the nearest one, what it
                lacks, and a list of all.
        """
        __tracebackhide__ = True
        wanted = Wanted(type, action, identifiers, data, more)
        return self._asserted(wanted, 1)[0]

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
        Make sure that no event fits.

        Raises:
            AssertionError: One does; with a list in which it is marked.
        """
        __tracebackhide__ = True
        self._asserted(Wanted(type, action, identifiers, data, more), 0)

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
        Return the events that fit, which are *count*.

        Raises:
            AssertionError: They are more or less; with a list in which they are marked.
        """
        __tracebackhide__ = True
        return self._asserted(Wanted(type, action, identifiers, data, more), count)

    def clear(self) -> None:
        """Forget all, the rejected as well: a test may begin anew."""
        super().clear()
        self.rejected.clear()
        self.places.clear()

    def _found(self, wanted: Wanted) -> Events:
        found = Events()
        found.extend(event for event in tuple(self) if wanted.fits(event))
        found.places = self.places
        found.rejected = self.rejected
        return found

    def _asserted(self, wanted: Wanted, count: int) -> Events:
        __tracebackhide__ = True
        found = self._found(wanted)
        if len(found) == count:
            return found
        what = f" with {wanted}" if str(wanted) else ""
        many = f"{count or 'no'} event{'s' * (count != 1)}"
        raise AssertionError(
            explained(
                f"expected {many}{what}; got {len(found) or 'none'}",
                wanted,
                tuple(self),
                self.places,
                tuple(self.rejected),
                near=len(found) < count,
            )
        )

    def __str__(self) -> str:
        """Return a line for each event, for people; the values in it may name them."""
        return "\n".join(listed(tuple(self), tuple(self.rejected)))

    def __repr__(self) -> str:
        # On one line, of any length of list; pytest shows it where an assert fails.
        return f"<Events: {len(self)}, and {len(self.rejected)} rejected>"
