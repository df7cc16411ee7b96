"""Around a run of tests: nothing that they log leaves this machine."""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._event import OdpEvent
    from .stores._base import Invalid

_ADVICE = (
    "tests send to this machine only; look at events with the fixture odp_events, have"
    " them sent with odp_emulator, or mark the test @pytest.mark.odp_network"
)
_REMEMBERED = 1000
_LONGEST = 60


class NetworkWall:
    """
    A tap that takes what is meant for any other host than a loopback one.

    What a log call would send is rejected there and then, and so never waits in a
    buffer or on disk until the tests are over. What waits already is kept.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._stopped: dict[str, bool] = {}
        self._notes: deque[str] = deque(maxlen=_REMEMBERED)
        self._waited: dict[str, None] = {}

    def stops(self, host: str | None) -> bool:
        """Whether *host* is another machine; one that is not known yet is none."""
        if host is None:
            return False
        if host not in self._stopped:
            self._stopped[host] = not _is_here(host)
        return self._stopped[host]

    def take(self, made: OdpEvent | Invalid, origin: str) -> bool:
        """Note an event that is not sent; its client counts it."""
        if not isinstance(made, tuple):  # else it would not have been sent anyway
            kind = f"{made.type}/{made.action}"[:_LONGEST]
            where = f", logged at {origin}" if origin else ""
            self._note(f"{kind if kind.isprintable() else '?'}{where}")
        return False

    def hold(self, host: str) -> str:
        """Note that events for *host* are kept in their buffer or spool."""
        # Not among the notes: a flusher comes to it during any test, and what lay in a
        # spool was logged by none of them.
        if os.getpid() == self._pid:
            self._waited[host] = None
        else:
            self._note(f"some waited for {host}")
        return f"OdpNetworkBlocked: nothing is sent to {host}; {_ADVICE}"

    def told(self) -> str:
        """Return what was stopped since the last call, on one line; "" for nothing."""
        first, number = "", 0
        while self._notes:
            note = self._notes.popleft()
            first, number = first or note, number + 1
        return _line(number, first) if number else ""

    def waited(self) -> list[str]:
        """Return for which hosts events are kept, a line for each."""
        return [_line(1, f"some waited for {host}") for host in list(self._waited)]

    def _note(self, note: str) -> None:
        if os.getpid() == self._pid:
            self._notes.append(note)
        elif not self._notes or self._notes[-1] is not _SAID:
            # In a forked child, of whose memory and log the tests know nothing: once.
            self._notes.append(_SAID)
            if sys.stderr is not None:
                sys.stderr.write(f"odp_logging: {_line(1, note)}\n")
                sys.stderr.flush()


def _is_here(host: str) -> bool:
    from urllib.parse import urlsplit

    from ._readers import is_loopback

    try:
        return is_loopback(urlsplit(host).hostname or "")
    except ValueError:  # no address at all
        return False


_SAID = "said by this process"


def _line(number: int, first: str) -> str:
    which = "an ODP event was" if number == 1 else f"{number} ODP events were"
    begun = first if number == 1 else f"the first {first}"
    return f"{which} not sent ({begun}): {_ADVICE}"
