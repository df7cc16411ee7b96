"""The open end of a buffer, where a log call leaves what it captured without a lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any


class Intake:
    """
    What a log call has to know of a buffer, and nothing else.

    Whoever appends to `incoming` looks at `idle` and `look_at` afterwards, and calls
    the client's `arrived` if need be.

    Args:
        busy: Idents of the threads that are in a callback of this client.
    """

    __slots__ = ("busy", "idle", "incoming", "look_at")

    def __init__(self, busy: AbstractSet[int] = frozenset()) -> None:
        self.busy = busy
        self.idle = True
        """Whether the flusher has to be woken for each event."""
        self.look_at = 1
        """How many may be there before somebody has to look at them."""
        self.renew()

    def renew(self) -> None:
        """Start empty, in a forked child."""
        self.incoming: Any = deque()


class Direct(Intake):
    """
    An intake for clients whose events cannot rest: each goes to *put* at once.

    Args:
        put: Called within the log call, with what it captured.
    """

    __slots__ = ()

    def __init__(self, put: Callable[[Any], object], busy: AbstractSet[int]) -> None:
        super().__init__(busy)
        self.idle = False
        self.incoming = _Passage(put)


class _Passage:
    __slots__ = ("append",)

    def __init__(self, put: Callable[[Any], object]) -> None:
        self.append = put

    def __len__(self) -> int:
        return 0


SHUT = Intake(busy=frozenset({0}))
"""Of a client each of whose events has to go the long way, `OdpClient.put`."""
