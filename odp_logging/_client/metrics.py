"""The metrics of `Stats`: name, unit and description of each.

`prometheus` and `opentelemetry` export them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from ..exceptions import ConfigurationError
from . import totals
from .client import OdpClient
from .stats import Snapshot

STATES = ("idle", "sending", "retrying", "misconfigured", "unconfigured", "disabled")

# Listed here, because a metric needs all of its parts before the first loss.
DROP_REASONS = (
    "overflow",
    "too_large",
    "spool_full",
    "damaged",
    "in_doubt",
    "exit",
    "queue",
    "before_send",
    "unconfigured",
    "not_integrated",
    "outbox",
    "rolled_back",
)
"""Reasons of `Stats.dropped`."""

REJECTION_REASONS = (
    "refused",
    "no_action",
    "no_identifiers",
    "bad_action",
    "bad_type",
    "bad_identifiers",
    "bad_data",
    "bad_before_send",
    "too_many_values",
    "invalid",
    "no_event",
    "identify",
    "in_callback",
    "not_capturable",
    "not_buildable",
    "network_blocked",
)
"""Reasons of `Stats.rejected`; an application's InvalidEventError may have others."""

ADJUSTMENT_KINDS = (
    "cut",
    "depth",
    "idempotence_id",
    "identifier",
    "integer",
    "milliseconds",
    "not_finite",
    "surrogate",
    "timestamp",
)
"""Kinds of `Stats.adjusted`."""


class Metric(NamedTuple):
    """
    One metric of `Stats`.

    Args:
        name: Words joined by ``_``, the unit first.
        kind: ``count`` only grows in a process, ``level`` can also fall, ``moment`` is
            a point in time, and ``age`` a time that passed.
        unit: ``event``, ``request``, ``value``, ``byte``, ``second``, or empty.
        text: Its description.
        read: Returns the value, or a value for each part if it has a label.
        label: Name of the label that distinguishes its parts; empty without parts.
        parts: Values of the label that are exported from the start, as 0.
    """

    name: str
    kind: Literal["count", "level", "moment", "age"]
    unit: str
    text: str
    read: Callable[[Snapshot], float | Mapping[str, int] | None]
    label: str = ""
    parts: tuple[str, ...] = ()

    def values(self, snapshot: Snapshot) -> dict[str, float]:
        """Return its values by label value; by ``""`` if it has no label."""
        value = self.read(snapshot)
        if value is None:  # no time of a success yet
            return {}
        if not isinstance(value, Mapping):
            return {"": value}
        # increase() and rate() of Prometheus see no growth from no value to the first
        # one. With a 0 at the start they see the first loss.
        return {**dict.fromkeys(self.parts, 0), **value}


METRICS = (
    Metric(
        "events_accepted",
        "count",
        "event",
        "Events logged or sent. Always delivered, rejected, dropped, pending and"
        " spooled ones together.",
        lambda snapshot: snapshot.stats.accepted,
    ),
    Metric(
        "events_delivered",
        "count",
        "event",
        "Events that ODP took.",
        lambda snapshot: snapshot.stats.delivered,
    ),
    Metric(
        "events_rejected",
        "count",
        "event",
        "Events that ODP refuses or could not take.",
        lambda snapshot: snapshot.stats.rejected,
        "reason",
        REJECTION_REASONS,
    ),
    Metric(
        "events_dropped",
        "count",
        "event",
        "Events given up; in_doubt were sent and never answered.",
        lambda snapshot: snapshot.stats.dropped,
        "reason",
        DROP_REASONS,
    ),
    Metric(
        "events_pending",
        "level",
        "event",
        "Events waiting in memory, or on their way.",
        lambda snapshot: snapshot.stats.pending,
    ),
    Metric(
        "events_spooled",
        "level",
        "event",
        "Events waiting on disk.",
        lambda snapshot: snapshot.stats.spooled,
    ),
    Metric(
        "oldest_event_age",
        "age",
        "second",
        "For about how long the oldest event of this process has been waiting, in"
        " memory or on disk; 0 if none is.",
        lambda snapshot: snapshot.oldest_seconds,
    ),
    Metric(
        "events_replayed",
        "count",
        "event",
        "Events that ODP took and that earlier processes had left on disk.",
        lambda snapshot: snapshot.stats.replayed,
    ),
    Metric(
        "events_retried",
        "count",
        "event",
        "Events sent again, counted each time.",
        lambda snapshot: snapshot.stats.retried,
    ),
    Metric(
        "values_adjusted",
        "count",
        "value",
        "Values changed to fit ODP's limits.",
        lambda snapshot: snapshot.stats.adjusted,
        "kind",
        ADJUSTMENT_KINDS,
    ),
    Metric(
        "queue",
        "level",
        "byte",
        "About how many bytes of JSON are waiting.",
        lambda snapshot: snapshot.stats.queue_bytes,
    ),
    Metric(
        "requests",
        "count",
        "request",
        "HTTP requests made.",
        lambda snapshot: snapshot.stats.requests,
    ),
    Metric(
        "batches",
        "count",
        "request",
        "HTTP requests that delivered something.",
        lambda snapshot: snapshot.stats.batches,
    ),
    Metric(
        "last_success",
        "moment",
        "second",
        "When ODP last took an event, Unix time. Absent until it does.",
        lambda snapshot: snapshot.stats.last_success,
    ),
    Metric(
        "state",
        "level",
        "",
        "1 for what the client does now, or for the worst that one of them does.",
        lambda snapshot: {
            state: int(state == snapshot.stats.state) for state in STATES
        },
        "state",
    ),
)
"""Every metric, in the order of export."""

DURATION = "request_duration"
"""Name of the histogram of `Snapshot.durations`."""

DURATION_TEXT = "How long an HTTP request took until its answer or its failure."


class ObservedClients:
    """
    The clients of which the stats are exported.

    Args:
        clients: The clients by the name they are exported under. None for the sum over
            every client that this process has, had and will have, without a name.

    Raises:
        ConfigurationError: *clients* is neither None nor such a dict.
    """

    def __init__(self, clients: Mapping[str, OdpClient] | None) -> None:
        if clients is not None and not _has_clients_only(clients):
            raise ConfigurationError(
                'clients= takes a dict such as {"shop": client}, an OdpClient by each'
                " name; leave it out for all of this process"
            )
        # A copy: the application may change its dict later.
        self._clients = None if clients is None else dict(clients)

    @property
    def are_named(self) -> bool:
        """Whether the clients are exported by name."""
        return self._clients is not None

    def read_snapshots(self) -> dict[str, Snapshot]:
        """Return what each client shows, by its name, each read at one moment."""
        if self._clients is None:
            return {"": totals.read_snapshot()}
        return {
            name: client._router.read_snapshot()
            for name, client in self._clients.items()
        }


def _has_clients_only(clients: object) -> bool:
    return isinstance(clients, Mapping) and all(
        isinstance(name, str) and isinstance(client, OdpClient)
        for name, client in clients.items()
    )
