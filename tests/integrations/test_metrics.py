"""What can be watched: Prometheus scrapes and OpenTelemetry collections add up."""

from __future__ import annotations

import ast
import gc
import inspect
import itertools
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry.sdk.metrics")

from opentelemetry.metrics import Meter, set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import odp_logging
from odp_logging import ConfigurationError, OdpClient, OdpHandler, Stats
from odp_logging._client.metrics import (
    ADJUSTMENT_KINDS,
    DROP_REASONS,
    METRICS,
    REJECTION_REASONS,
)
from odp_logging._flusher.durations import BOUNDS, Durations, PutTimes
from odp_logging.emulator import Emulator
from odp_logging.opentelemetry import instrument, spread_durations, uninstrument
from odp_logging.prometheus import OdpCollector

from ..conftest import KEY
from ..emulated import build_client
from ..interpreter import run_code
from ..waiting import until

PACKAGE = Path(odp_logging.__file__).parent
HAS_ADVISED_BOUNDS = (
    "explicit_bucket_boundaries_advisory"
    in inspect.signature(Meter.create_histogram).parameters
)
"""Whether this version of OpenTelemetry lets a library choose the buckets."""

WHO = {"fs_user_id": "somebody-in-particular"}
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No instrument of one test is observed in the next."""
    yield
    uninstrument()


def live(client: OdpClient, emulator: Emulator) -> None:
    """Have *client* deliver 3 events, see 2 rejected, and drop or keep 4."""
    for number in range(3):
        client.send_odp_event("bought", WHO, data={"n": number, "text": "x" * 2000})
        assert client.flush(10)
    client.send_odp_event("bought", {})
    assert client.flush(10)
    emulator.fault(status=400, match="cursed", body="no")
    client.send_odp_event("cursed", WHO)
    assert client.flush(10)
    emulator.fault(status=503)
    for number in range(4):
        client.send_odp_event("late", WHO, data={"n": number})
    client.flush(0)


def settled(client: OdpClient, read: Callable[[], Figures]) -> tuple[Figures, Stats]:
    """Return what *read* finds, and the stats that did not change meanwhile."""
    while True:
        before, figures = client.stats, read()
        if client.stats == before:
            return figures, before


@contextmanager
def scraped(collector: OdpCollector) -> Iterator[Callable[[], Figures]]:
    """Serve *collector* over HTTP on a free port; yield what scrapes it."""
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    try:
        yield lambda: parsed(got(url))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def got(url: str, accept: str = "text/plain") -> str:
    """Return what *url* shows to who takes *accept*."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def parsed(text: str) -> Figures:
    """Return the figures of a scrape, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def summed(figures: Figures, name: str, prefix: str = "odp_logging_events_") -> float:
    """Return a figure, over all its labels."""
    return sum(value for (key, _), value in figures.items() if key == prefix + name)


def parts(figures: Figures) -> float:
    """Return what becomes of events, all of it."""
    totals = ("delivered_total", "rejected_total", "dropped_total")
    return sum(summed(figures, name) for name in (*totals, "pending", "spooled"))


def taken_by_hand() -> int:
    """Return how many events other tests of this process took out of their stores."""
    stats = odp_logging.stats()
    gone = sum(stats.rejected.values()) + sum(stats.dropped.values())
    here = stats.pending + stats.spooled
    return stats.accepted - stats.delivered - gone - here


def one(figures: Figures, name: str, **labels: str) -> float:
    """Return the figure of *name* with exactly these labels."""
    return figures[f"odp_logging_{name}", frozenset(labels.items())]


# Prometheus.


def test_a_scrape_shows_the_stats(emulator):
    """Every figure of the stats is in a scrape over HTTP, by its reason."""
    client = build_client(emulator, max_queue_size=2, flush_interval=60)
    with scraped(OdpCollector({"shop": client})) as scrape:
        assert one(scrape(), "events_accepted_total", client="shop") == 0
        live(client, emulator)
        figures, stats = settled(client, scrape)
        emulator.clear_faults()
        assert client.flush(20)
        later = scrape()

    shop = {"client": "shop"}
    assert one(figures, "events_accepted_total", **shop) == stats.accepted == 9
    assert one(figures, "events_delivered_total", **shop) == 3
    assert one(figures, "events_pending", **shop) == stats.pending > 0
    assert stats.pending + stats.dropped["overflow"] == 4
    rejected = {"no_identifiers": 1, "refused": 1}
    assert {r: rejected[r] for r in rejected} == stats.rejected
    for reason, count in stats.rejected.items():
        assert one(figures, "events_rejected_total", reason=reason, **shop) == count
    for reason, count in stats.dropped.items():
        assert one(figures, "events_dropped_total", reason=reason, **shop) == count
    assert one(figures, "values_adjusted_total", kind="cut", **shop) == 3
    assert one(figures, "queue_bytes", **shop) == stats.queue_bytes > 0
    assert one(figures, "requests_total", **shop) == stats.requests
    assert one(figures, "batches_total", **shop) == stats.batches
    moment = one(figures, "last_success_timestamp_seconds", **shop)
    assert moment == stats.last_success
    assert one(later, "events_pending", **shop) == 0
    assert one(later, "events_retried_total", **shop) == client.stats.retried
    assert summed(later, "accepted_total") == parts(later) == 9
    client.close()


def test_every_scrape_adds_up(emulator):
    """Accepted is the sum of the rest in each scrape, and no counter ever falls."""
    taken = taken_by_hand()
    clients = [build_client(emulator, flush_interval=0.001) for _ in range(2)]
    stop = threading.Event()

    def work(client: OdpClient) -> None:
        while not stop.wait(0.0005):
            client.send_odp_event("bought", WHO)
            client.send_odp_event("bought", {})

    threads = [threading.Thread(target=work, args=(each,)) for each in clients]
    seen: list[Figures] = []
    with scraped(OdpCollector()) as scrape:
        for thread in threads:
            thread.start()
        try:
            while len(seen) < 20 or summed(seen[-1], "delivered_total") < 100:
                seen.append(scrape())
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    for client in clients:
        client.close()

    for before, after in itertools.pairwise(seen):
        assert summed(after, "accepted_total") == parts(after) + taken
        for key, value in before.items():
            if key[0].endswith("_total"):
                assert after[key] >= value, key


class Restless(OdpClient):
    """A client that accepts another event whenever somebody asks for its stats."""

    @property
    def stats(self) -> Stats:
        """As they were before that."""
        found = super().stats
        self.send_odp_event("bought", {})
        return found


def test_a_scrape_and_a_collection_are_of_one_moment(emulator, reader, provider):
    """However much happens while it is shown, the figures of one fit together."""
    client = Restless(KEY, api_host=emulator.url, flush_interval=60)
    instrument(provider, clients={"a": client})
    with scraped(OdpCollector({"a": client})) as scrape:
        for _ in range(3):
            figures = scrape()
            assert summed(figures, "accepted_total") == parts(figures)
            found = collected(reader)
            names = ("delivered", "rejected", "dropped", "pending", "spooled")
            total = sum(summed(found, name, "odp_logging.events.") for name in names)
            assert summed(found, "accepted", "odp_logging.events.") == total
    client.close()


def test_clients_that_are_gone_still_count(emulator):
    """Closed or given up, in a cycle or not: what a client did stays counted."""
    before, taken = odp_logging.stats(), taken_by_hand()
    kept = build_client(emulator)
    kept.send_odp_event("bought", WHO)
    kept.close()
    for number in range(150):  # more than are remembered one by one
        client = OdpClient(enabled=False) if number % 3 else build_client(emulator)
        client.send_odp_event("bought", {})
        client.send(number)  # type: ignore[arg-type]
        if number < 3:
            client.send_odp_event("bought", WHO)
            client.itself = client  # type: ignore[attr-defined]
            client.close()
        del client
    gc.collect()
    found = []
    with scraped(OdpCollector()) as scrape:
        found.append(scrape())
        kept.send_odp_event("bought", WHO)
        assert kept.flush(10)
        found.append(scrape())

    # 50 that are enabled reject "no identifiers"; all of them what is no event.
    wanted = before.accepted + 1 + 50 + 150 + 1
    assert summed(found[0], "accepted_total") == parts(found[0]) + taken == wanted
    assert summed(found[0], "delivered_total") == before.delivered + 2
    assert summed(found[1], "delivered_total") == before.delivered + 3
    assert summed(found[1], "accepted_total") == wanted + 1


def test_a_spool_is_watched(emulator, tmp_path):
    """What rests on disk is shown apart, and what a gone client left there stays."""
    emulator.fault(status=503)
    client = build_client(emulator, spool=tmp_path / "spool", durability="crash")
    for _ in range(3):
        client.send_odp_event("bought", WHO)
    with scraped(OdpCollector({"a": client})) as scrape:
        figures = scrape()
        emulator.clear_faults()
        assert client.flush(20)
        later = scrape()

    assert (summed(figures, "spooled"), summed(figures, "pending")) == (3, 0)
    assert (summed(later, "spooled"), summed(later, "delivered_total")) == (0, 3)
    assert summed(figures, "accepted_total") == parts(figures)
    client.close()


def test_a_forked_child_counts_its_own(emulator):
    """In a child counters start at 0, also those of a client closed before."""
    gone = build_client(emulator)
    gone.send_odp_event("bought", {})
    del gone
    closed, other = build_client(emulator), build_client(emulator)
    for client in (closed, other):
        client.send_odp_event("bought", WHO)
        assert client.flush(10)
        client.close()
        until(client._destinations.flusher.is_done)
    used = build_client(emulator)  # from now on, nothing holds the closed ones but us
    used.send_odp_event("bought", WHO)
    assert used.flush(10)
    assert odp_logging.stats().accepted >= 4
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        first = (
            closed.stats.accepted,
            used.stats.accepted,
            odp_logging.stats().accepted,
        )
        closed.send_odp_event("bought", {})
        del closed, client
        gc.collect()
        os.write(write, repr((*first, odp_logging.stats().accepted)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "(0, 0, 0, 1)"
    assert used.stats.accepted == 1
    used.close()


def test_states_are_shown(emulator):
    """One state of each client is 1, the others are 0."""
    lost = OdpClient(handle_sigterm=False)
    off = OdpClient(handle_sigterm=False, enabled=False)
    fine = build_client(emulator)
    with scraped(OdpCollector({"lost": lost, "fine": fine, "off": off})) as scrape:
        figures = scrape()

    assert one(figures, "state", client="lost", state="unconfigured") == 1
    assert one(figures, "state", client="fine", state="idle") == 1
    assert one(figures, "state", client="off", state="disabled") == 1
    assert summed(figures, "state", "odp_logging_") == 3


def test_the_state_of_a_process_is_the_worst():
    """What nobody asked for is no trouble; events without a destination are."""
    code = """
from odp_logging import OdpClient
import odp_logging
off, fine = OdpClient(enabled=False), OdpClient("k", api_host="http://127.0.0.1:9")
lost = OdpClient(shutdown_timeout=0)
print(odp_logging.stats().state)
lost.send_odp_event("a", {"email": "a@example.com"})
print(odp_logging.stats().state)
"""

    assert run_code(code) == ["idle", "unconfigured"]


def test_the_text_keeps_the_conventions(emulator):
    """Help, types and OpenMetrics are right, and nobody is named in any of it."""
    client = build_client(emulator)
    live(client, emulator)
    registry = CollectorRegistry()
    registry.register(OdpCollector({"shop": client}))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    try:
        text = got(url)
        families = list(
            openmetrics.text_string_to_metric_families(
                got(url, "application/openmetrics-text; version=1.0.0")
            )
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    emulator.clear_faults()
    client.close()

    assert all(family.documentation.endswith(".") for family in families)
    counters = {f.name for f in families if f.type == "counter"}
    assert counters == {
        "odp_logging_events_accepted",
        "odp_logging_events_delivered",
        "odp_logging_events_rejected",
        "odp_logging_events_dropped",
        "odp_logging_events_replayed",
        "odp_logging_events_retried",
        "odp_logging_values_adjusted",
        "odp_logging_requests",
        "odp_logging_batches",
    }
    assert {f.name for f in families} - counters == {
        "odp_logging_events_pending",
        "odp_logging_events_spooled",
        "odp_logging_oldest_event_age_seconds",
        "odp_logging_request_duration_seconds",
        "odp_logging_queue_bytes",
        "odp_logging_last_success_timestamp_seconds",
        "odp_logging_state",
    }
    for secret in (KEY, emulator.url, *WHO, *WHO.values(), "late"):
        assert secret not in text


def test_the_oldest_event_grows_older_until_it_is_delivered(emulator):
    """The age of the oldest waiting event is there, and 0 when all are delivered."""
    client = build_client(emulator, flush_interval=0.01)
    emulator.fault(status=503)
    with scraped(OdpCollector({"shop": client})) as scrape:

        def read_age() -> float:
            return one(scrape(), "oldest_event_age_seconds", client="shop")

        assert read_age() == 0
        client.send_odp_event("first", WHO)
        until(lambda: read_age() > 0.5, "the event to grow older")
        before = read_age()
        client.send_odp_event("second", WHO)
        assert read_age() >= before
        emulator.clear_faults()
        assert client.flush(30)
        assert read_age() == 0
    client.close()


def test_an_event_on_disk_grows_older_too(emulator, tmp_path):
    """In the sum of the process as well, and without a destination."""
    emulator.fault(status=503)
    client = build_client(emulator, spool=tmp_path / "spool", durability="crash")
    lost = OdpClient(handle_sigterm=False)
    collectors = {"disk": client, "lost": lost}
    with scraped(OdpCollector(collectors)) as named, scraped(OdpCollector()) as scrape:
        for each in collectors.values():
            each.send_odp_event("first", WHO)
        for name in collectors:
            until(
                lambda name=name: (
                    one(named(), "oldest_event_age_seconds", client=name) > 0.2
                ),
                "the event to grow older",
            )
        assert one(scrape(), "oldest_event_age_seconds") > 0.2
    emulator.clear_faults()
    assert client.flush(30)
    lost.configure(KEY, api_host=emulator.url)
    assert lost.flush(30)
    client.close()
    lost.close()


def test_the_duration_of_requests_is_a_histogram(emulator):
    """Each request is in the bucket of its duration, failed ones included."""
    client = build_client(emulator)
    with scraped(OdpCollector({"shop": client})) as scrape:
        shop = {"client": "shop"}
        assert one(scrape(), "request_duration_seconds_count", **shop) == 0
        client.send_odp_event("quick", WHO)
        assert client.flush(10)
        emulator.fault(latency=0.3, count=1, status=503, keep=False)
        client.send_odp_event("slow", WHO)
        assert client.flush(20)
        figures, stats = settled(client, scrape)
    client.close()

    name = "request_duration_seconds"
    counts = [one(figures, f"{name}_bucket", le=str(le), **shop) for le in BOUNDS]
    assert counts == sorted(counts)
    assert one(figures, f"{name}_bucket", le="0.25", **shop) < stats.requests
    assert one(figures, f"{name}_bucket", le="+Inf", **shop) == stats.requests == 3
    assert one(figures, f"{name}_count", **shop) == stats.requests
    assert one(figures, f"{name}_sum", **shop) > 0.3


def test_arrivals_are_thinned_with_bounded_memory():
    """The oldest event keeps its time, whatever came after it."""
    times = PutTimes()
    for number in range(1, 10_001):
        times.record(number, float(number))

    assert len(times._times) <= 65
    assert times.read(10_000, 0, 10_000.0) == 9_999
    assert 0 < times.read(10_000, 5_000, 10_000.0) <= 5_000
    assert times.read(10_000, 10_000, 10_001.0) == 0


def test_losses_are_counted_from_zero():
    """Each known reason has a value before the first event, so alarms see the first."""
    client = OdpClient(KEY, api_host="http://127.0.0.1:9", handle_sigterm=False)
    with scraped(OdpCollector({"shop": client})) as scrape:
        figures = scrape()

    for metric in METRICS:
        name = metric.name + "_total"
        for part in metric.parts:
            labels = {"client": "shop", metric.label: part}
            assert one(figures, name, **labels) == 0
    assert sum(bool(metric.parts) for metric in METRICS) == 3


def test_every_reason_of_the_code_is_known():
    """A reason that is added to the code is exported as 0, too."""
    found: dict[str, set[str]] = {"drop": set(), "reject": set(), "adjust": set()}
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("emulator", "testing", "_cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                add_reasons(node, found)

    assert found["drop"] - {"network_blocked"} <= set(DROP_REASONS)
    assert found["reject"] <= set(REJECTION_REASONS)
    assert found["adjust"] == set(ADJUSTMENT_KINDS)
    assert {"overflow", "spool_full", "exit"} <= found["drop"]
    assert {"refused", "no_action", "in_callback"} <= found["reject"]


def add_reasons(call: ast.Call, found: dict[str, set[str]]) -> None:
    """Add the reasons that are literals in *call* to *found*."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    texts = [
        argument.value
        for argument in call.args[:2]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
    is_kept_drop = name == "add" and "dropped" in ast.unparse(call.func)
    if is_kept_drop or name in ("drop", "abandon", "discard", "drop_until_configured"):
        found["drop"].update(texts)
    elif name in ("reject", "reject_early"):
        found["reject"].update(texts[:1])
    elif name == "record_adjustment":
        found["adjust"].update(texts)
    elif name == "InvalidEventError":
        found["reject"].update(
            keyword.value.value
            for keyword in call.keywords
            if isinstance(keyword.value, ast.Constant)
        )


def test_a_second_collector_is_refused():
    """A registry takes only one for all: its figures would count twice."""
    registry = CollectorRegistry()
    registry.register(OdpCollector())

    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(OdpCollector())


@pytest.mark.parametrize("clients", [[], OdpHandler, {"a": None}, {1: None}])
def test_what_is_no_client_is_named(clients):
    """Something else than clients by name raises, and says what is right."""
    for call in (OdpCollector, lambda clients: instrument(clients=clients)):
        with pytest.raises(
            ConfigurationError, match=r'a dict such as \{"shop": client'
        ):
            call(clients)


# OpenTelemetry.


def collected(reader: InMemoryMetricReader) -> Figures:
    """Return what a collection finds, by name and attributes."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        (metric.name, frozenset((point.attributes or {}).items())): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if hasattr(point, "value")  # not the histogram, which keeps what it recorded
    }


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    """A reader of the real SDK that collects when it is asked."""
    made = InMemoryMetricReader()
    yield made
    made.shutdown()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> MeterProvider:
    """The provider that *reader* reads."""
    return MeterProvider(metric_readers=[reader], shutdown_on_exit=False)


def test_instruments_show_the_stats(emulator, reader, provider):
    """Every figure is observed, by its reason, and adds up."""
    client = build_client(emulator, max_queue_size=2, flush_interval=60)
    instrument(provider, clients={"shop": client})
    live(client, emulator)
    figures, stats = settled(client, lambda: collected(reader))
    shop = ("odp_logging.client", "shop")

    def found(name: str, *labels: tuple[str, str]) -> float:
        return figures[f"odp_logging.{name}", frozenset({shop, *labels})]

    assert found("events.accepted") == stats.accepted == 9
    assert found("events.delivered") == 3
    assert found("events.pending") == stats.pending > 0
    assert stats.dropped["overflow"] > 0
    for reason, count in stats.rejected.items():
        assert found("events.rejected", ("odp_logging.reason", reason)) == count
    for reason, count in stats.dropped.items():
        assert found("events.dropped", ("odp_logging.reason", reason)) == count
    assert found("queue.size") == stats.queue_bytes
    assert found("last_success") == stats.last_success
    assert found("state", ("odp_logging.state", stats.state)) == 1
    assert KEY not in str(figures)
    emulator.clear_faults()
    client.close()


def test_units_and_kinds(emulator, reader, provider):
    """Units are UCUM's; what only grows is monotonic, what waits is not."""
    client = build_client(emulator)
    instrument(provider)
    live(client, emulator)
    data = reader.get_metrics_data()
    (scope,) = data.resource_metrics[0].scope_metrics
    metrics = {metric.name: metric for metric in scope.metrics}
    emulator.clear_faults()
    client.close()

    assert scope.scope.name == "odp_logging"
    units = {name: metric.unit for name, metric in metrics.items()}
    assert units["odp_logging.events.accepted"] == "{event}"
    assert units["odp_logging.requests"] == "{request}"
    assert units["odp_logging.queue.size"] == "By"
    assert units["odp_logging.last_success"] == "s"
    assert metrics["odp_logging.events.accepted"].data.is_monotonic
    assert not metrics["odp_logging.events.pending"].data.is_monotonic


def test_the_histogram_has_the_buckets_and_the_sum(emulator, reader, provider):
    """Each request once, also over several collections, with the exact sum."""
    client = build_client(emulator)
    instrument(provider, clients={"shop": client})

    def read_point() -> Any:
        data = reader.get_metrics_data()
        (scope,) = data.resource_metrics[0].scope_metrics
        metrics = {metric.name: metric for metric in scope.metrics}
        found = metrics.get("odp_logging.request.duration")
        return None if found is None else found.data.data_points[0]

    assert read_point() is None
    for latency in (0.0, 0.3):
        emulator.fault(latency=latency)
        client.send_odp_event("bought", WHO)
        assert client.flush(10)
        point = read_point()
    instrument(provider, clients={"shop": client})
    point = read_point()
    durations = client._router.read_snapshot().durations
    client.close()

    assert point.attributes == {"odp_logging.client": "shop"}
    assert point.count == 2
    if HAS_ADVISED_BOUNDS:
        assert point.explicit_bounds == BOUNDS
        assert tuple(point.bucket_counts) == durations.buckets
    assert point.sum == pytest.approx(durations.seconds)


@pytest.mark.parametrize(
    "durations", [[], [0.01], [0.07, 3.0, 0.05], [31.0], [0.2, 45.0, 90.0, 30.0]]
)
def test_spread_durations_fall_into_the_same_buckets(durations):
    """As many in each bucket; and with the same sum, where the last one is empty."""
    before = Durations().add([0.3, 0.3])
    after = before.add(durations)
    again = before.add(spread_durations(before, after))

    assert again.buckets == after.buckets
    if max(durations, default=0) <= BOUNDS[-1] or len(durations) == 1:
        assert again.seconds == pytest.approx(after.seconds, rel=1e-4)


def test_every_collection_adds_up(emulator, reader, provider):
    """In each collection accepted is the sum of the rest, whatever goes on."""
    client = build_client(emulator, flush_interval=0.001)
    instrument(provider, clients={"shop": client})
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.0002):
            client.send_odp_event("bought", WHO)
            client.send_odp_event("bought", {})

    thread = threading.Thread(target=work)
    thread.start()
    seen = []
    try:
        while (
            len(seen) < 30 or summed(seen[-1], "delivered", "odp_logging.events.") < 50
        ):
            seen.append(collected(reader))
    finally:
        stop.set()
        thread.join()
        client.close()

    names = ("delivered", "rejected", "dropped", "pending", "spooled")
    for figures in seen:
        total = sum(summed(figures, each, "odp_logging.events.") for each in names)
        assert summed(figures, "accepted", "odp_logging.events.") == total
    assert len({summed(f, "accepted", "odp_logging.events.") for f in seen}) > 5


def test_uninstrument_and_again(emulator, reader, provider, caplog):
    """After uninstrument nothing is observed; instrument once more and it is."""
    with build_client(emulator) as first, build_client(emulator) as second:
        second.send_odp_event("bought", {})
        instrument(provider, clients={"a": first})
        instrument(provider, clients={"b": second})
        key = ("odp_logging.events.accepted", frozenset({("odp_logging.client", "b")}))
        found = collected(reader)
        uninstrument()
        silent = collected(reader)
        instrument(provider, clients={"b": second})
        again = collected(reader)

    names = {name for (_, labels) in found for key_, name in labels if "client" in key_}
    assert (found[key], names) == (1, {"b"})
    assert silent == {}
    assert again[key] == 1
    assert not [r for r in caplog.records if r.name.startswith("opentelemetry")]


def test_the_global_provider_is_the_default(emulator, reader, provider):
    """Without a provider the global one is used, also one that is set later."""
    instrument()
    set_meter_provider(provider)

    key = ("odp_logging.events.accepted", frozenset())
    assert key in collected(reader)
    # Now that it is there, by its own name: it is the same one, with the same figures.
    with build_client(emulator) as client:
        instrument(clients={"a": client})
        named = frozenset({("odp_logging.client", "a")})
        assert (key[0], named) in collected(reader)
    uninstrument()
    assert collected(reader) == {}
    instrument()
    assert key in collected(reader)
