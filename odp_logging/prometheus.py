"""A Prometheus collector over the counts of events of this process.

    from prometheus_client import REGISTRY, start_http_server
    from odp_logging.prometheus import OdpCollector

    REGISTRY.register(OdpCollector())
    start_http_server(9100)

In prometheus_client's multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``, for gunicorn) a
collector shows only the process that answers the scrape. With it, give each worker its
own port, or use `odp_logging.opentelemetry`, which pushes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ._client.metrics import DURATION, DURATION_TEXT, METRICS, Metric, ObservedClients
from ._flusher.durations import BOUNDS
from ._runtime.extras import format_missing_extra

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    # Another missing module is a fault of the installation, and has its own message.
    if error.name is None or error.name.partition(".")[0] != "prometheus_client":
        raise
    raise ImportError(
        format_missing_extra(
            "odp_logging.prometheus needs prometheus-client 0.20 or newer",
            requirement="prometheus-client>=0.20",
            extra="prometheus",
        )
    ) from None

if TYPE_CHECKING:
    from ._client.client import OdpClient
    from ._client.stats import Snapshot
    from ._flusher.durations import Durations

__all__ = ["OdpCollector"]

_SUFFIXES = {"byte": "_bytes", "second": "_seconds"}


class OdpCollector(Collector):
    """
    Exports `OdpClient.stats` at each scrape: ``odp_logging_events_accepted_total`` etc.

    No label holds an identifier, a key or a host. In one scrape, for each client,
    accepted is the sum of delivered, rejected, dropped, pending and spooled. Counters
    never decrease while the process runs: those of closed and collected clients stay. A
    forked child starts at 0 and counts its own events.

    Args:
        clients: By a name that becomes the label ``client``. None for every client of
            this process, added up, without that label.

    Raises:
        ConfigurationError: *clients* is something else.
    """

    def __init__(self, clients: Mapping[str, OdpClient] | None = None) -> None:
        self._observed = ObservedClients(clients)

    def collect(self) -> Iterator[Any]:
        """Yield each metric; all values are read at one moment."""
        snapshots = self._observed.read_snapshots()
        for metric in METRICS:
            yield self._build_family(metric, snapshots)
        yield self._build_durations(snapshots)

    def describe(self) -> Iterator[Any]:
        """Yield the metrics without values: a registry checks for duplicates."""
        for metric in METRICS:
            yield self._build_family(metric, {})
        yield self._build_durations({})

    def _build_family(self, metric: Metric, snapshots: Mapping[str, Snapshot]) -> Any:
        has_client, has_label = self._observed.are_named, bool(metric.label)
        labels = ["client"] * has_client + [metric.label] * has_label
        kind = CounterMetricFamily if metric.kind == "count" else GaugeMetricFamily
        # As Prometheus' guide names points in time: *_timestamp_seconds.
        suffix = "_timestamp" if metric.kind == "moment" else ""
        name = f"odp_logging_{metric.name}{suffix}{_SUFFIXES.get(metric.unit, '')}"
        family = kind(name, metric.text, labels=labels)
        for client, snapshot in snapshots.items():
            for part, value in metric.values(snapshot).items():
                family.add_metric([client] * has_client + [part] * has_label, value)
        return family

    def _build_durations(self, snapshots: Mapping[str, Snapshot]) -> Any:
        labels = ["client"] * self._observed.are_named
        name = f"odp_logging_{DURATION}_seconds"
        family = HistogramMetricFamily(name, DURATION_TEXT, labels=labels)
        for client, snapshot in snapshots.items():
            add_histogram(family, [client] * len(labels), snapshot.durations)
        return family


def add_histogram(family: Any, labels: list[str], durations: Durations) -> None:
    """Add *durations* to a `HistogramMetricFamily`; not for applications."""
    bounds = [*map(str, BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(durations.buckets), strict=True))
    family.add_metric(labels, buckets, durations.seconds)
