"""What can be watched from outside: the figures of the stats, by name and unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from ._books import stats_of_all
from ._client import OdpClient
from ._stats import Stats
from .exceptions import ConfigurationError

STATES = ("idle", "sending", "retrying", "misconfigured", "unconfigured", "disabled")


class Figure(NamedTuple):
    """
    One figure of `Stats`.

    Args:
        name: In words, the unit first.
        kind: ``count`` only grows in a process, ``level`` also falls, ``moment`` is the
            time of something.
        unit: ``event``, ``request``, ``value``, ``byte``, ``second``, or none.
        text: What it is, for people.
        read: Returns it; by label, if it has one.
        label: What tells its parts apart.
    """

    name: str
    kind: Literal["count", "level", "moment"]
    unit: str
    text: str
    read: Callable[[Stats], float | Mapping[str, int] | None]
    label: str = ""

    def values(self, stats: Stats) -> dict[str, float]:
        """Return its values by label; by the empty label if it has none."""
        value = self.read(stats)
        if value is None:
            return {}
        return dict(value) if isinstance(value, Mapping) else {"": value}


FIGURES = (
    Figure(
        "events_accepted",
        "count",
        "event",
        "Events logged or sent. Always delivered, rejected, dropped, pending and"
        " spooled ones together.",
        lambda stats: stats.accepted,
    ),
    Figure(
        "events_delivered",
        "count",
        "event",
        "Events that ODP took.",
        lambda stats: stats.delivered,
    ),
    Figure(
        "events_rejected",
        "count",
        "event",
        "Events that ODP refuses or could not take.",
        lambda stats: stats.rejected,
        "reason",
    ),
    Figure(
        "events_dropped",
        "count",
        "event",
        "Events given up; in_doubt were sent and never answered.",
        lambda stats: stats.dropped,
        "reason",
    ),
    Figure(
        "events_pending",
        "level",
        "event",
        "Events waiting in memory, or on their way.",
        lambda stats: stats.pending,
    ),
    Figure(
        "events_spooled",
        "level",
        "event",
        "Events waiting on disk.",
        lambda stats: stats.spooled,
    ),
    Figure(
        "events_replayed",
        "count",
        "event",
        "Events that ODP took and that earlier processes had left on disk.",
        lambda stats: stats.replayed,
    ),
    Figure(
        "events_retried",
        "count",
        "event",
        "Events sent again, counted each time.",
        lambda stats: stats.retried,
    ),
    Figure(
        "values_adjusted",
        "count",
        "value",
        "Values changed to fit ODP's limits.",
        lambda stats: stats.adjusted,
        "kind",
    ),
    Figure(
        "queue",
        "level",
        "byte",
        "About how many bytes of JSON are waiting.",
        lambda stats: stats.queue_bytes,
    ),
    Figure(
        "requests",
        "count",
        "request",
        "HTTP requests made.",
        lambda stats: stats.requests,
    ),
    Figure(
        "batches",
        "count",
        "request",
        "HTTP requests that delivered something.",
        lambda stats: stats.batches,
    ),
    Figure(
        "last_success",
        "moment",
        "second",
        "When ODP last took an event, Unix time. Absent until it does.",
        lambda stats: stats.last_success,
    ),
    Figure(
        "state",
        "level",
        "",
        "1 for what the client does now, or for the worst that one of them does.",
        lambda stats: {state: int(state == stats.state) for state in STATES},
        "state",
    ),
)
"""All of them, in the order in which they are shown."""


class Watched:
    """
    The clients to be watched.

    Args:
        clients: By the name under which they are shown. None for all that this process
            has, had and will have, added up under no name.

    Raises:
        ConfigurationError: It is neither.
    """

    def __init__(self, clients: Mapping[str, OdpClient] | None) -> None:
        if clients is not None and not _are_clients(clients):
            raise ConfigurationError(
                'clients= takes a dict such as {"shop": client}, an OdpClient by each'
                " name; leave it out for all of this process"
            )
        self._clients = None if clients is None else dict(clients)

    @property
    def are_named(self) -> bool:
        """Whether each has a name to be shown."""
        return self._clients is not None

    def stats(self) -> dict[str, Stats]:
        """Return the stats of each by its name, each read at one moment."""
        if self._clients is None:
            return {"": stats_of_all()}
        return {name: client.stats for name, client in self._clients.items()}


def _are_clients(clients: object) -> bool:
    return isinstance(clients, Mapping) and all(
        isinstance(name, str) and isinstance(client, OdpClient)
        for name, client in clients.items()
    )
