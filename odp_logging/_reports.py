"""What became of events, told to those who want to know: the log and the callbacks."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._diagnostics import Diagnostics

if TYPE_CHECKING:
    from ._delivery import Delivery
    from ._event import OdpEvent
    from .stores._base import Batch, Store

_LONGEST = 200
"""Characters of a server's reason that a transport passes on."""

_LONGEST_NAME = 60

_WORD = r"\w{3,}"

OnDelivery = Callable[[Sequence["OdpEvent"]], object]
OnDrop = Callable[[Sequence["OdpEvent"], str], object]


class Reports:
    """
    Tells of deliveries and losses, on the thread that made the step, outside all locks.

    Args:
        on_delivery, on_drop: The application's callbacks.
        diagnostics: Writes the lines.
        busy: Idents of the threads that are in a callback.
        bounds: Of the buffer, in brackets, for the line that says it is full.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        on_delivery: OnDelivery | None = None,
        on_drop: OnDrop | None = None,
        busy: set[int] | None = None,
        *,
        bounds: str = "",
    ) -> None:
        self.diagnostics = diagnostics
        self._on_delivery = on_delivery
        self._on_drop = on_drop
        self._bounds = bounds
        self._busy: set[int] = set() if busy is None else busy
        self.after_fork()

    def after_fork(self) -> None:
        """Start afresh in a forked child."""
        self._overflow_told = 0
        self._busy.clear()
        self.diagnostics.after_fork()

    def is_mine(self) -> bool:
        """Whether this thread is in one of the application's callbacks."""
        return bool(self._busy) and threading.get_ident() in self._busy

    @contextmanager
    def foreign_code(self) -> Iterator[None]:
        """Mark that this thread runs callbacks, whose own events would never end."""
        # Looked up now: gevent may have patched it after our import.
        me = threading.get_ident()
        try:
            # Within: a signal handler may raise as soon as it is there.
            self._busy.add(me)
            yield
        finally:
            self._busy.discard(me)

    def tell(self, batch: Batch, delivery: Delivery, store: Store) -> None:
        """Tell what became of *batch*, and what *store* had to drop."""
        for invalid in batch.invalid:
            where = f"{invalid.origin}: " if invalid.origin else ""
            self.diagnostics.warn(
                f"invalid:{invalid.reason}", f"{where}event rejected: {invalid.message}"
            )
        if delivery.rejected:
            self._tell_rejected(batch, delivery)
        if delivery.pending:
            self._tell_pending(delivery, store)
        if self._on_delivery is not None and delivery.size:
            accepted = [batch.events[place] for place in delivery.accepted]
            if accepted:
                self._call(self._on_delivery, accepted)
        self.tell_drops(store)

    def _tell_rejected(self, batch: Batch, delivery: Delivery) -> None:
        position, reason = next(iter(delivery.rejected.items()))
        event = batch.events[position]
        kind = f"{_short(event.type)}/{_short(event.action)}"
        self.diagnostics.warn(
            "rejected",
            f"ODP rejected {len(delivery.rejected)} of {delivery.size} events, the"
            f' first a {kind}: "{masked(reason, event)}"; they were not sent again,'
            " the others are unharmed; mend the call",
        )
        if self._on_drop is not None:
            for place, why in delivery.rejected.items():
                self._call(self._on_drop, [batch.events[place]], f"rejected: {why}")

    def shows_drops(self) -> bool:
        """Whether somebody wants to see the events that are dropped."""
        return self._on_drop is not None

    def _tell_pending(self, delivery: Delivery, store: Store) -> None:
        kept = store.counts().waiting
        if not kept:
            return  # given up meanwhile, and said so
        where = "in the spool" if store.spooled() else "in memory"
        events = f"{kept} event{'s are' if kept != 1 else ' is'} kept {where}"
        if delivery.is_misconfigured:
            self.diagnostics.warn(
                "configuration",
                f"{delivery.message}; {events} and one probe is sent every"
                f" {delivery.backoff:.0f} s; check api_key and api_host",
            )
        elif delivery.is_held_up:
            pause = max(delivery.backoff, delivery.retry_after)
            self.diagnostics.warn(
                "passing",
                f"{delivery.message}; {events}, next attempt in {pause:.1f} s",
            )

    def tell_drops(self, store: Store, *, seconds: float = 60.0) -> None:
        """Tell what *store* had to drop since the last time, for *seconds* at most."""
        lost = store.overflowed()
        if lost > self._overflow_told:
            self.diagnostics.warn(
                "overflow",
                f"the buffer is full{self._bounds}; {lost} events were dropped so far;"
                " raise max_queue_size, or find out why ODP does not take them",
            )
            self._overflow_told = lost
        if self._on_drop is not None:
            end = time.monotonic() + seconds
            while (dropped_now := store.dropped()) and time.monotonic() < end:
                for each in dropped_now:
                    self._call(self._on_drop, each.events, each.reason)

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            with self.foreign_code():
                callback(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the application's code, on our thread
            self.diagnostics.warn(
                "callback",
                f"a callback raised {type(error).__name__}; delivery goes on",
            )


def masked(reason: str, event: OdpEvent) -> str:
    """Return ODP's *reason* without what it quotes of *event*, or might."""
    if len(reason) >= _LONGEST:
        # Cut, perhaps within a quotation: half a word is not known again.
        reason = f"{reason.rpartition(' ')[0]} …"
    body = event.to_dict()
    values = [*_texts(body["identifiers"]), *_texts(body["data"])]
    quoted = {_flat(text) for text in values}
    folded = reason.casefold()
    whole = [text for text in quoted if len(text) > 1 and text.casefold() in folded]
    for text in sorted(whole, key=len, reverse=True):
        reason = re.sub(re.escape(text), "***", reason, flags=re.IGNORECASE)
    # Escaped, cut or spaced in another way, it is still made of the same words.
    words = {word.casefold() for text in quoted for word in re.findall(_WORD, text)}
    reason = re.sub(
        _WORD, lambda m: "***" if m[0].casefold() in words else m[0], reason
    )
    return re.sub(r"\S+@\S+|\d[\d .-]{2,}\d", "***", reason)


def _flat(text: str) -> str:
    """Return *text* on one line, without control characters, as a reason is."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _short(name: str) -> str:
    return _flat(name[:_LONGEST_NAME])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)
