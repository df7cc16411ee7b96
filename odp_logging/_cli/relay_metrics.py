"""The relay's HTTP endpoint: /metrics for Prometheus, /healthz for a supervisor.

`odp-logging relay --metrics-port` starts it. It reads the counts of the workers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from .._client.metrics import DURATION, DURATION_TEXT
from .._flusher.durations import Durations
from .._flusher.relay import Relay
from .._runtime.extras import format_missing_extra
from .._stores.counts import Counts

_METRICS_PATH = "/metrics"
_HEALTH_PATH = "/healthz"
_TEXT = "text/plain; charset=utf-8"
_MISSING = format_missing_extra(
    "/metrics needs prometheus-client 0.20 or newer",
    requirement="prometheus-client>=0.20",
    extra="prometheus",
)


class MetricsServer:
    """
    Answers HTTP requests about *relay* on threads of its own, until `close`.

    Args:
        port: 0 for a free one; see `port`.

    Raises:
        OSError: The host cannot be resolved, or the port is in use or not permitted.
    """

    def __init__(self, relay: Relay, host: str, port: int) -> None:
        # In this scope, because http.server creates a handler without arguments.
        class RequestHandler(BaseHTTPRequestHandler):
            timeout = 10.0  # a client that sends nothing would keep a thread for ever

            def do_GET(self) -> None:
                accept = self.headers.get("Accept", "")
                response = build_response(relay, self.path, accept=accept)
                self.send_response(response.status)
                self.send_header("Content-Type", response.content_type)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, *_: Any) -> None:
                """Write nothing: a line for each scrape would hide the others."""

        self._server = ThreadingHTTPServer((host, port), RequestHandler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="odp-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering and release the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Response(NamedTuple):
    """One answer to a GET request."""

    status: int
    body: bytes
    content_type: str = _TEXT


def build_response(relay: Relay, path: str, *, accept: str = "") -> Response:
    """Return the answer for *path* in a format that the header *accept* allows."""
    if path == _HEALTH_PATH:
        if relay.is_healthy():
            return Response(200, b"ok\n")
        return Response(503, b"nothing can be delivered now\n")
    if path != _METRICS_PATH:
        text = f"there are {_METRICS_PATH} and {_HEALTH_PATH}\n"
        return Response(404, text.encode())
    try:
        # Imported here: a relay without this module still answers /healthz.
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        return Response(501, f"{_MISSING}\n".encode())
    # A registry of its own: the default one adds metrics of the Python process.
    registry: Any = CollectorRegistry()
    registry.register(_RelayCollector(relay))
    encode, content_type = choose_encoder(accept)
    return Response(200, encode(registry), content_type)


class _RelayCollector:
    """
    A collector for prometheus_client over the workers of one relay.

    The names follow those of `odp_logging.prometheus.OdpCollector`.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def collect(self) -> Iterator[Any]:
        """Yield the metrics of the relay as they are now."""
        counts = [worker.store.counts() for worker in self._relay.workers]
        statuses = [worker.flusher.status for worker in self._relay.workers]
        requests = sum(status.requests for status in statuses)
        durations = Durations()
        for status in statuses:
            durations = durations.merge(status.durations)
        yield from self._collect_events(counts)
        yield from self._collect_depth()
        yield from _collect_requests(requests, durations)
        yield from self._collect_old_names(counts, durations)

    def _collect_events(self, counts: Sequence[Counts]) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        for name, text, value in (
            ("delivered", "Events that ODP took.", sum(c.delivered for c in counts)),
            (
                "retried",
                "Events sent again, counted each time.",
                sum(count.retried for count in counts),
            ),
            ("redelivered", _REDELIVERED, self._count_redelivered()),
        ):
            yield CounterMetricFamily(f"odp_relay_events_{name}", text, value)
        rejected = CounterMetricFamily(
            "odp_relay_events_rejected",
            "Events that became dead letters.",
            labels=["reason"],
        )
        # As 0 from the start, so that an alarm on growth sees the first one.
        totals = dict.fromkeys(_REASONS, 0)
        for count in counts:
            for reason, number in count.rejected.items():
                totals[reason] = totals.get(reason, 0) + number
        for reason, total in totals.items():
            rejected.add_metric([reason], total)
        yield rejected

    def _count_redelivered(self) -> int:
        return sum(worker.store.redelivered for worker in self._relay.workers)

    def _collect_depth(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        # The last measurement of a worker: a scrape sends no request to the queue, and
        # so cannot hang with it.
        depth = self._relay.last_depth
        for new, old, text, value in (
            ("events_ready", "lag_entries", _READY, depth.ready),
            ("events_leased", "pending_entries", _LEASED, depth.leased),
            ("dead_letters", "dead_entries", "Dead letters.", depth.dead),
            ("oldest_event_age_seconds", "oldest_seconds", _AGE, depth.oldest),
        ):
            yield GaugeMetricFamily(f"odp_relay_{new}", text, value)
            yield GaugeMetricFamily(f"odp_relay_{old}", f"Now odp_relay_{new}.", value)

    def _collect_old_names(
        self, counts: Sequence[Counts], durations: Durations
    ) -> Iterator[Any]:
        """Yield counters by the names that they had before."""
        from prometheus_client.core import CounterMetricFamily, SummaryMetricFamily

        events = CounterMetricFamily(
            "odp_relay_events",
            "Now odp_relay_events_delivered_total and so on.",
            labels=["result"],
        )
        dead = sum(sum(count.rejected.values()) for count in counts)
        events.add_metric(["delivered"], sum(count.delivered for count in counts))
        events.add_metric(["dead"], dead)
        events.add_metric(["retried"], sum(count.retried for count in counts))
        yield events
        yield CounterMetricFamily(
            "odp_relay_redelivered",
            "Now odp_relay_events_redelivered_total.",
            self._count_redelivered(),
        )
        yield SummaryMetricFamily(
            "odp_relay_post_seconds",
            "Now odp_relay_request_duration_seconds.",
            count_value=durations.total,
            sum_value=durations.seconds,
        )


_REASONS = ("refused", "unreadable", "deliveries", "account")
"""Reasons for dead letters: the first words of their texts."""

_REDELIVERED = "Events that another worker had leased before."
_READY = "Events in the queue that no worker has leased."
_LEASED = "Events in the queue that a worker has leased."
_AGE = "How long the oldest event has been in the queue; 0 if it is empty."


def _collect_requests(requests: int, durations: Durations) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    from ..prometheus import add_histogram

    yield CounterMetricFamily("odp_relay_requests", "HTTP requests made.", requests)
    family = HistogramMetricFamily(f"odp_relay_{DURATION}_seconds", DURATION_TEXT)
    add_histogram(family, [], durations)
    yield family
