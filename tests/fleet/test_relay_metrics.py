"""The relay's HTTP endpoint: /metrics and /healthz."""

from __future__ import annotations

import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from odp_logging._cli.relay_metrics import MetricsServer
from odp_logging._config.load import load
from odp_logging._flusher.relay import Relay
from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..waiting import until
from .queues import Queue

pytest.importorskip("prometheus_client")

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

NAMES = {
    "odp_relay_events_delivered_total": "counter",
    "odp_relay_events_rejected_total": "counter",
    "odp_relay_events_retried_total": "counter",
    "odp_relay_events_redelivered_total": "counter",
    "odp_relay_events_ready": "gauge",
    "odp_relay_events_leased": "gauge",
    "odp_relay_dead_letters": "gauge",
    "odp_relay_oldest_event_age_seconds": "gauge",
    "odp_relay_requests_total": "counter",
    "odp_relay_request_duration_seconds_bucket": "histogram",
    "odp_relay_request_duration_seconds_sum": "histogram",
    "odp_relay_request_duration_seconds_count": "histogram",
}
OLD_NAMES = {
    "odp_relay_events_total": "counter",
    "odp_relay_lag_entries": "gauge",
    "odp_relay_pending_entries": "gauge",
    "odp_relay_dead_entries": "gauge",
    "odp_relay_oldest_seconds": "gauge",
    "odp_relay_redelivered_total": "counter",
    "odp_relay_post_seconds_sum": "summary",
    "odp_relay_post_seconds_count": "summary",
}
"""Kept for one version."""


@contextmanager
def serve_metrics(queue: Queue, odp: Emulator) -> Iterator[tuple[Relay, str]]:
    """Run a relay on a thread; yield it and the address of its HTTP endpoint."""
    settings = {"queue_url": queue.url, "api_key": KEY, "api_host": odp.url}
    config = load(settings, warn=lambda kind, message: None)
    destination = config.destination()
    assert config.queue_url is not None and destination is not None
    relay = Relay(config.queue_url, config, destination, workers=2)
    with closing(MetricsServer(relay, "127.0.0.1", 0)) as server:
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            yield relay, f"http://127.0.0.1:{server.port}"
        finally:
            relay.stop()
            thread.join(60)
            assert not thread.is_alive()


def fetch(url: str, accept: str = "") -> tuple[int, str, str]:
    """Return status, content type and text of the answer to a GET request."""
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            content_type = response.headers["Content-Type"]
            return response.status, content_type, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_prometheus_reads_the_counts_of_all_workers(queue, emulator):
    """Every metric has its name and type, and the events add up."""
    for number in (1, 3):  # not by position: a worker may read few events at first
        emulator.fault(match=f'"n":{number}}}', count=1, status=400)
    queue.fill(30)
    with serve_metrics(queue, emulator) as (relay, address):
        until(lambda: emulator.stats()["unique"] == 28, "the events that ODP accepts")

        def counts_are_settled() -> bool:
            counts = [worker.store.counts() for worker in relay.workers]
            return sum(c.delivered + sum(c.rejected.values()) for c in counts) == 30

        until(counts_are_settled, "the counts")
        status, content_type, text = fetch(f"{address}/metrics")

    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    types = {s.name: family.type for family in families for s in family.samples}
    results = {
        sample.labels["result"]: sample.value
        for sample in samples
        if sample.name == "odp_relay_events_total"
    }
    values = {sample.name: sample.value for sample in samples if not sample.labels}
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert types == NAMES | OLD_NAMES
    assert results.keys() == {"delivered", "dead", "retried"}
    assert (results["delivered"], results["dead"]) == (28, 2)
    assert values["odp_relay_post_seconds_count"] >= 1
    assert values["odp_relay_post_seconds_sum"] > 0
    assert values["odp_relay_events_delivered_total"] == 28
    rejected = {
        sample.labels["reason"]: sample.value
        for sample in samples
        if sample.name == "odp_relay_events_rejected_total"
    }
    assert rejected == {"refused": 2, "unreadable": 0, "deliveries": 0, "account": 0}
    requests = values["odp_relay_requests_total"]
    assert values["odp_relay_request_duration_seconds_count"] == requests >= 1


def test_a_scraper_that_accepts_openmetrics_gets_it(queue, emulator):
    """The format follows the request's header Accept."""
    with serve_metrics(queue, emulator) as (_, address):
        accept = "application/openmetrics-text; version=1.0.0"
        status, content_type, text = fetch(f"{address}/metrics", accept)

    families = list(openmetrics.text_string_to_metric_families(text))
    names = {sample.name for family in families for sample in family.samples}
    assert status == 200
    assert content_type.startswith("application/openmetrics-text")
    assert names == NAMES.keys() | OLD_NAMES.keys()


def test_without_prometheus_client_only_metrics_are_missing(
    queue, emulator, monkeypatch
):
    """/metrics answers 501 with one line that names the extra; /healthz as ever."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with serve_metrics(queue, emulator) as (_, address):
        metrics = fetch(f"{address}/metrics")
        health = fetch(f"{address}/healthz")
        other = fetch(f"{address}/other")

    assert metrics == (
        501,
        "text/plain; charset=utf-8",
        "/metrics needs prometheus-client 0.20 or newer;"
        " pip install 'prometheus-client>=0.20' (odp-logging's extra prometheus)\n",
    )
    assert health == (200, "text/plain; charset=utf-8", "ok\n")
    assert other[0] == 404
