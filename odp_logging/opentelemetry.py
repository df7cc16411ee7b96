"""OpenTelemetry instruments over the counts of events of this process.

    from odp_logging.opentelemetry import instrument

    instrument()    # with the meter provider that the application has set

The instruments are asynchronous: their callbacks run when the application's metric
reader collects. No attribute holds an identifier, a key or a host.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ._client.metrics import DURATION, DURATION_TEXT, METRICS, Metric, ObservedClients
from ._flusher.durations import BOUNDS, Durations
from ._runtime.extras import format_missing_extra
from ._version import VERSION

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import CallbackOptions, Observation
except ImportError as error:
    if error.name is None or error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        format_missing_extra(
            "odp_logging.opentelemetry needs opentelemetry-api 1.27 or newer",
            requirement="opentelemetry-api>=1.27",
            extra="otel",
        )
    ) from None

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter, MeterProvider

    from ._client.client import OdpClient
    from ._client.stats import Snapshot

__all__ = ["instrument", "uninstrument"]

_UNITS = {
    "event": "{event}",
    "request": "{request}",
    "value": "{value}",
    "byte": "By",
    "second": "s",
    "": "1",
}
"""Units in UCUM, according to OpenTelemetry's semantic conventions."""

_NAMES = {"queue": "queue.size"}

_MIN_FRACTION = 0.000_001
"""Keeps a duration above the lower bound, which belongs to the bucket below."""


def instrument(
    meter_provider: MeterProvider | None = None,
    *,
    clients: Mapping[str, OdpClient] | None = None,
) -> None:
    """
    Export ``odp_logging.events.accepted`` etc., also after `uninstrument`.

    A second call for the same provider replaces the clients of the first. In one
    collection, for each client, accepted is the sum of delivered, rejected, dropped,
    pending and spooled.

    Args:
        meter_provider: None for the global one.
        clients: By a name that becomes the attribute ``odp_logging.client``. None for
            every client of this process, added up, without that attribute.

    Raises:
        ConfigurationError: *clients* is something else.
    """
    observed = ObservedClients(clients)
    provider = meter_provider or metrics.get_meter_provider()
    with _lock:
        instruments = _instruments_by_provider.get(provider)
        instruments = instruments or _reuse_early_instruments(provider)
        if instruments is None:
            instruments = _instruments_by_provider[provider] = _Instruments()
            instruments.create(provider.get_meter("odp_logging", VERSION))
        instruments.set_observed(observed)


def _reuse_early_instruments(provider: MeterProvider) -> _Instruments | None:
    """Return instruments created before *provider* became the global one, or None."""
    if provider is not metrics.get_meter_provider():
        return None
    for early in list(_instruments_by_provider):
        # The API's proxy provider passes its instruments on to the real one. The SDK
        # would never call a second set of the same names.
        is_proxy = type(early).__module__.startswith("opentelemetry.metrics")
        if is_proxy and not isinstance(early, metrics.NoOpMeterProvider):
            _instruments_by_provider[provider] = _instruments_by_provider.pop(early)
            return _instruments_by_provider[provider]
    return None


def uninstrument() -> None:
    """Stop the export, for all providers; the histogram keeps what it recorded."""
    with _lock:
        for instruments in _instruments_by_provider.values():
            instruments.set_observed(None)


class _Instruments:
    """The instruments of one meter.

    No API of OpenTelemetry removes an instrument, so they may observe no clients. There
    is no lock, because a fork could leave it held, and none is needed: a provider
    collects for one reader after the other.
    """

    def __init__(self) -> None:
        self._observed: ObservedClients | None = None
        self._snapshots: dict[str, Snapshot] = {}
        self._histogram: Any = None
        self._recorded: dict[str, Durations] = {}
        self._remaining: set[str] = set()

    def create(self, meter: Meter) -> None:
        """Create an instrument for each metric."""
        for metric in METRICS:
            name = _NAMES.get(metric.name, metric.name.replace("events_", "events."))
            _choose_factory(meter, metric)(
                f"odp_logging.{name}",
                callbacks=[partial(self._observe, metric)],
                unit=_UNITS[metric.unit],
                description=metric.text,
            )
        self._histogram = _create_histogram(meter)

    def set_observed(self, observed: ObservedClients | None) -> None:
        """Observe these clients from now on, or none."""
        self._observed = observed
        self._remaining = set()

    def _observe(
        self, metric: Metric, options: CallbackOptions
    ) -> Iterable[Observation]:
        observed = self._observed
        if observed is None:
            return []
        # One collection calls each callback once. A second call for a metric starts
        # another collection, with new stats, so the values of one are consistent.
        if metric.name not in self._remaining:
            self._snapshots = observed.read_snapshots()
            self._record_durations(named=observed.are_named)
            self._remaining = {metric.name for metric in METRICS}
        self._remaining.discard(metric.name)
        named = observed.are_named
        return list(_build_observations(metric, self._snapshots, named=named))

    def _record_durations(self, *, named: bool) -> None:
        """Record the requests since the last collection in the histogram."""
        # There is no asynchronous histogram. The SDK calls the callbacks first, so what
        # they record is part of the same collection.
        for client, snapshot in self._snapshots.items():
            recorded = self._recorded.get(client, Durations())
            if recorded.total > snapshot.durations.total:
                recorded = Durations()  # another client of this name, or a forked child
            self._recorded[client] = snapshot.durations
            for seconds in spread_durations(recorded, snapshot.durations):
                attributes = {"odp_logging.client": client} if named else {}
                self._histogram.record(seconds, attributes)


def _build_observations(
    metric: Metric, snapshots: Mapping[str, Snapshot], *, named: bool
) -> Iterator[Observation]:
    for client, snapshot in snapshots.items():
        name = {"odp_logging.client": client} if named else {}
        for part, value in metric.values(snapshot).items():
            label = {f"odp_logging.{metric.label}": part} if metric.label else {}
            yield Observation(value, {**name, **label})


def _create_histogram(meter: Meter) -> Histogram:
    name = f"odp_logging.{DURATION.replace('_', '.')}"
    options: dict[str, Any] = {"unit": "s", "description": DURATION_TEXT}
    try:
        return meter.create_histogram(
            name, **options, explicit_bucket_boundaries_advisory=BOUNDS
        )
    except TypeError:  # an API of OpenTelemetry that has no such argument yet
        return meter.create_histogram(name, **options)


def spread_durations(before: Durations, after: Durations) -> list[float]:
    """
    Return durations with the buckets and the sum of those that came after *before*.

    Not for applications.
    """
    counts = [new - old for old, new in zip(before.buckets, after.buckets, strict=True)]
    open_ended = counts.pop()
    seconds = after.seconds - before.seconds
    lower_bounds: list[float] = []
    upper_bounds: list[float] = []
    for count, low, high in zip(counts, (0.0, *BOUNDS), BOUNDS, strict=False):
        lower_bounds += [low] * count
        upper_bounds += [high] * count
    # Each one as far into its bucket as the sum needs. The last bucket has no upper
    # bound, and makes up for what is missing.
    span = sum(upper_bounds) - sum(lower_bounds)
    missing = seconds - sum(lower_bounds)
    fraction = missing / span if span and not open_ended else 0.5
    fraction = min(1.0, max(_MIN_FRACTION, fraction))
    found = [
        low + fraction * (high - low)
        for low, high in zip(lower_bounds, upper_bounds, strict=True)
    ]
    if open_ended:
        longest = (seconds - sum(found)) / open_ended
        found += [max(BOUNDS[-1] * (1 + _MIN_FRACTION), longest)] * open_ended
    return found


def _choose_factory(meter: Meter, metric: Metric) -> Any:
    if metric.kind == "count":
        return meter.create_observable_counter
    if metric.kind in ("moment", "age") or metric.label:
        return meter.create_observable_gauge
    return meter.create_observable_up_down_counter


_lock = threading.Lock()
_instruments_by_provider: weakref.WeakKeyDictionary[Any, _Instruments] = (
    weakref.WeakKeyDictionary()
)
