"""A Prometheus collector over what becomes of the events of this process.

    from prometheus_client import REGISTRY, start_http_server
    from odp_logging.prometheus import OdpCollector

    REGISTRY.register(OdpCollector())
    start_http_server(9100)

In prometheus_client's multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``, for gunicorn) a
collector of any kind shows the process that was asked and no other. There each worker
needs a port of its own, or `odp_logging.opentelemetry`, which pushes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._observed import FIGURES, Figure, Watched

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    if error.name is None or error.name.partition(".")[0] != "prometheus_client":
        raise
    raise ImportError(
        "odp_logging.prometheus needs prometheus-client 0.20 or newer; pip install"
        " 'odp-logging[prometheus]'"
    ) from None

if TYPE_CHECKING:
    from ._client import OdpClient
    from ._stats import Stats

__all__ = ["OdpCollector"]

_UNITS = {"byte": "_bytes", "second": "_timestamp_seconds"}


class OdpCollector(Collector):
    """
    Shows the stats at each scrape: ``odp_logging_events_accepted_total`` and so on.

    No label holds an identifier, a key or a host. In one scrape, for each client,
    accepted is the sum of delivered, rejected, dropped, pending and spooled. Counters
    never fall while the process lives: clients that were closed or are gone still
    count. A forked child counts from 0, its own events.

    Args:
        clients: By a name that becomes the label ``client``. None for every client of
            this process, added up, without that label.

    Raises:
        ConfigurationError: *clients* is something else.
    """

    def __init__(self, clients: Mapping[str, OdpClient] | None = None) -> None:
        self._watched = Watched(clients)

    def collect(self) -> Iterator[Any]:
        """Yield each figure, all of them read at one moment."""
        stats = self._watched.stats()
        for figure in FIGURES:
            yield self._family(figure, stats)

    def describe(self) -> Iterator[Any]:
        """Yield the names alone, for a registry that looks for doubles."""
        for figure in FIGURES:
            yield self._family(figure, {})

    def _family(self, figure: Figure, stats: Mapping[str, Stats]) -> Any:
        named = self._watched.are_named
        labels = ["client"] * named + [figure.label] * bool(figure.label)
        kind = CounterMetricFamily if figure.kind == "count" else GaugeMetricFamily
        name = f"odp_logging_{figure.name}{_UNITS.get(figure.unit, '')}"
        family = kind(name, figure.text, labels=labels)
        for client, each in stats.items():
            for part, value in figure.values(each).items():
                family.add_metric([client] * named + [part] * bool(figure.label), value)
        return family
