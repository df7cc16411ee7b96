"""OpenTelemetry instruments over what becomes of the events of this process.

    from odp_logging.opentelemetry import instrument

    instrument()    # with the meter provider that the application has set

They are asynchronous: read when the application's metric reader collects, and not
before. No attribute holds an identifier, a key or a host.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ._observed import FIGURES, Figure, Watched
from ._version import VERSION

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import CallbackOptions, Observation
except ImportError as error:
    if error.name is None or error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "odp_logging.opentelemetry needs opentelemetry-api 1.27 or newer; pip install"
        " 'odp-logging[otel]'"
    ) from None

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider

    from ._client import OdpClient
    from ._stats import Stats

__all__ = ["instrument", "uninstrument"]

_UNITS = {
    "event": "{event}",
    "request": "{request}",
    "value": "{value}",
    "byte": "By",
    "second": "s",
    "": "1",
}
"""As UCUM writes them, after OpenTelemetry's semantic conventions."""

_NAMES = {"queue": "queue.size"}


def instrument(
    meter_provider: MeterProvider | None = None,
    *,
    clients: Mapping[str, OdpClient] | None = None,
) -> None:
    """
    Observe ``odp_logging.events.accepted`` and so on; again after an `uninstrument`.

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
    watched = Watched(clients)
    provider = meter_provider or metrics.get_meter_provider()
    with _lock:
        instruments = _made.get(provider) or _made_before(provider)
        if instruments is None:
            instruments = _made[provider] = _Instruments()
            instruments.make(provider.get_meter("odp_logging", VERSION))
        instruments.watch(watched)


def _made_before(provider: MeterProvider) -> _Instruments | None:
    """Return what was made before *provider* was set as the global one, if it is."""
    if provider is not metrics.get_meter_provider():
        return None
    for early in list(_made):
        # The API's own stands in for the one to come, and hands its instruments on:
        # a second set of the same names would never be asked.
        is_the_apis = type(early).__module__.startswith("opentelemetry.metrics")
        if is_the_apis and not isinstance(early, metrics.NoOpMeterProvider):
            _made[provider] = _made.pop(early)
            return _made[provider]
    return None


def uninstrument() -> None:
    """Observe nothing any more, for no provider."""
    with _lock:
        for instruments in _made.values():
            instruments.watch(None)


class _Instruments:
    """The instruments of one meter: no API takes them back, so they fall silent.

    Without a lock of its own, which a fork might leave held: a provider collects for
    one reader after the other.
    """

    def __init__(self) -> None:
        self._watched: Watched | None = None
        self._stats: dict[str, Stats] = {}
        self._unread: set[str] = set()

    def make(self, meter: Meter) -> None:
        """Create them all."""
        for figure in FIGURES:
            name = _NAMES.get(figure.name, figure.name.replace("events_", "events."))
            _creator(meter, figure)(
                f"odp_logging.{name}",
                callbacks=[partial(self._observe, figure)],
                unit=_UNITS[figure.unit],
                description=figure.text,
            )

    def watch(self, watched: Watched | None) -> None:
        """Observe *watched* from now on, or nothing."""
        self._watched = watched
        self._unread = set()

    def _observe(
        self, figure: Figure, options: CallbackOptions
    ) -> Iterable[Observation]:
        watched = self._watched
        if watched is None:
            return []
        # Each is asked once a collection: whoever asks for the second time begins
        # another one, with stats read anew. So all of one fit together.
        if figure.name not in self._unread:
            self._stats = watched.stats()
            self._unread = {each.name for each in FIGURES}
        self._unread.discard(figure.name)
        return list(_observations(figure, self._stats, named=watched.are_named))


def _observations(
    figure: Figure, stats: Mapping[str, Stats], *, named: bool
) -> Iterator[Observation]:
    for client, each in stats.items():
        name = {"odp_logging.client": client} if named else {}
        for part, value in figure.values(each).items():
            label = {f"odp_logging.{figure.label}": part} if figure.label else {}
            yield Observation(value, {**name, **label})


def _creator(meter: Meter, figure: Figure) -> Any:
    if figure.kind == "count":
        return meter.create_observable_counter
    if figure.kind == "moment" or figure.label:
        return meter.create_observable_gauge
    return meter.create_observable_up_down_counter


_lock = threading.Lock()
_made: weakref.WeakKeyDictionary[Any, _Instruments] = weakref.WeakKeyDictionary()
