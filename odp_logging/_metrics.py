"""What a relay tells a monitor: /metrics for Prometheus, /healthz for a supervisor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ._relay import Relay

_METRICS = "/metrics"
_HEALTH = "/healthz"


class Metrics:
    """
    Answers on *host* and *port* about *relay*, on threads of its own, until `close`.

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(self, relay: Relay, host: str, port: int) -> None:
        class Answers(BaseHTTPRequestHandler):
            timeout = 10.0

            def do_GET(self) -> None:
                status, text = answer(relay, self.path)
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing: a scrape every few seconds is no news."""

        self._server = ThreadingHTTPServer((host, port), Answers)
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="odp-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def answer(relay: Relay, path: str) -> tuple[int, str]:
    """Return status and text for *path*."""
    if path == _HEALTH:
        healthy = relay.is_healthy()
        return (200, "ok\n") if healthy else (503, "nothing can be delivered now\n")
    if path != _METRICS:
        return 404, f"there are {_METRICS} and {_HEALTH}\n"
    return 200, "".join(f"{line}\n" for line in _lines(relay))


def _lines(relay: Relay) -> Iterator[str]:
    counts = [worker.store.counts() for worker in relay.workers]
    results = {
        "delivered": sum(each.delivered for each in counts),
        "dead": sum(sum(each.rejected.values()) for each in counts),
        "retried": sum(each.retried for each in counts),
    }
    yield "# HELP odp_relay_events_total Events, by what became of them."
    yield "# TYPE odp_relay_events_total counter"
    for name, count in results.items():
        yield f'odp_relay_events_total{{result="{name}"}} {count}'
    depth = relay.depth()
    redelivered = sum(worker.store.redelivered for worker in relay.workers)
    yield from _one("lag_entries", "gauge", depth.ready, "Events nobody took yet.")
    yield from _one("pending_entries", "gauge", depth.leased, "Events with a relay.")
    yield from _one("dead_entries", "gauge", depth.dead, "Dead letters.")
    yield from _one("oldest_seconds", "gauge", depth.oldest, "Age of the oldest event.")
    yield from _one(
        "redelivered_total", "counter", redelivered, "Events another relay had before."
    )
    yield "# HELP odp_relay_post_seconds How long ODP takes to answer."
    yield "# TYPE odp_relay_post_seconds summary"
    sent = [worker.transport for worker in relay.workers]
    yield f"odp_relay_post_seconds_sum {sum(each.seconds for each in sent):.3f}"
    yield f"odp_relay_post_seconds_count {sum(each.requests for each in sent)}"


def _one(name: str, kind: str, value: float, help: str) -> Iterator[str]:
    yield f"# HELP odp_relay_{name} {help}"
    yield f"# TYPE odp_relay_{name} {kind}"
    yield f"odp_relay_{name} {value:g}"
