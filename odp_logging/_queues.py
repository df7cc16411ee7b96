"""The commands that look after a queue: relay, status, dead letters, replay."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _spools
from ._config import load
from ._event import OdpEvent, restored
from ._metrics import Metrics
from ._relay import Relay
from ._spools import Failed
from .exceptions import ConfigurationError, InvalidEventError
from .stores._parcels import QueueError
from .stores._spoolfile import SpoolError
from .stores._url import engine_of
from .stores._visit import Visit

if TYPE_CHECKING:
    from ._config import Config
    from .stores._url import QueueUrl

_BATCH = 500
_POLL = 0.5
_SPOOL = b"SQLite format 3"


def queue_of(given: str | None) -> QueueUrl:
    """
    Return the queue that was *given*, or that of ``ODP_QUEUE_URL``.

    Raises:
        Failed: There is neither, or it cannot be used.
    """
    url = _loaded(given).queue_url
    if url is None:
        raise Failed("which queue? name it with --from URL, or set ODP_QUEUE_URL")
    return url


def _loaded(url: str | None = None) -> Config:
    problems: list[str] = []
    try:
        settings = {"queue_url": url} if url else {}
        found = load(settings, warn=lambda kind, message: problems.append(message))
    except ConfigurationError as error:
        raise Failed(str(error).replace("queue_url", "the URL", 1)) from None
    for each in problems:
        _say(each)
    return found


def relay(
    url: QueueUrl,
    *,
    workers: int,
    grace: float,
    metrics: tuple[str, int] | None,
    lease: float,
    max_deliveries: int,
) -> int:
    """Deliver what is in the queue *url* until SIGTERM; return the exit status."""
    config = _loaded()
    destination = config.destination()
    if destination is None:
        raise Failed("ODP_API_KEY is not set; the relay is what needs ODP's key")
    try:
        made = Relay(
            url,
            config,
            destination,
            workers=workers,
            grace=grace,
            lease=lease,
            max_deliveries=max_deliveries,
            say=_say,
        )
    except (ImportError, ValueError) as error:
        raise Failed(str(error)) from None
    _say(f"relay of {url.place} to {destination.place}, {workers} workers")
    with _watched(made, metrics):
        return made.run()


@contextmanager
def _watched(made: Relay, metrics: tuple[str, int] | None) -> Iterator[None]:
    if metrics is None:
        yield
        return
    try:
        answers = Metrics(made, *metrics)
    except OSError as error:
        raise Failed(
            f"port {metrics[1]} of {metrics[0]} cannot be had ({error.strerror}); name"
            " another one with --metrics-port"
        ) from None
    _say(f"metrics at http://{metrics[0]}:{answers.port}/metrics")
    with closing(answers):
        yield


@contextmanager
def _opened(url: QueueUrl) -> Iterator[Any]:
    """Yield the store for *url*; what it does not do is said in one line."""
    try:
        store = engine_of(url)(url)
    except (ImportError, ValueError) as error:
        raise Failed(str(error)) from None
    try:
        with closing(store):
            yield store
    except QueueError as error:
        raise Failed(str(error)) from None


def status(url: QueueUrl, *, as_json: bool) -> int:
    """Print how much is in the queue, and who works on it."""
    with _opened(url) as store:
        depth, paused = store.depth(), store.paused()
        workers = sorted(store.consumers(), key=lambda each: each.idle)
    if as_json:
        told = {"queue": url.place, **depth._asdict(), "paused": paused}
        print(json.dumps({**told, "workers": [each._asdict() for each in workers]}))
        return 0
    for each in workers:
        print(
            f"{each.name}: {each.pending} events on loan, last heard of"
            f" {each.idle:.0f} s ago"
        )
    print(
        f"{url.place}: {depth.ready} events ready, {depth.leased} on loan,"
        f" {depth.dead} dead letters, {len(workers)} workers"
        + (f", the oldest waits for {depth.oldest:.0f} s" if depth.oldest else "")
        + (f"; paused for {paused:.1f} s, as ODP asked" if paused else "")
    )
    return 0


# Dead letters.


def dead_list(url: QueueUrl, *, as_json: bool, show: bool) -> int:
    """Print the dead letters of the queue *url*, a line each."""
    with _opened(url) as store:
        letters = store.dead_letters()
    return _spools.listed([_told(each, show=show) for each in letters], as_json=as_json)


def dead_show(url: QueueUrl, name: str, *, as_json: bool, show: bool) -> int:
    """Print one dead letter whole."""
    with _opened(url) as store:
        (found,) = _chosen(store, [name])
    told = _told(found, show=show)
    print(json.dumps(told) if as_json else json.dumps(told, indent=2))
    return 0


def dead_retry(url: QueueUrl, names: Sequence[str], *, as_json: bool) -> int:
    """Put dead letters back into the queue."""
    with _opened(url) as store:
        chosen = _chosen(store, names)
        store.exhume(chosen, retry=True)
    return _spools.said("retried", len(chosen), as_json=as_json)


def dead_drop(url: QueueUrl, names: Sequence[str], *, as_json: bool) -> int:
    """Delete dead letters."""
    with _opened(url) as store:
        chosen = _chosen(store, names)
        store.exhume(chosen, retry=False)
    return _spools.said("dropped", len(chosen), as_json=as_json)


def _chosen(store: Any, names: Sequence[str]) -> list[Any]:
    found = {each.id: each for each in store.dead_letters()}
    for name in names:
        if name not in found:
            raise Failed(f"there is no dead letter {name}; see odp-logging dead list")
    return [found[name] for name in names] if names else list(found.values())


def _told(letter: Any, *, show: bool) -> dict[str, Any]:
    known = {"id": letter.id, "buried": _spools.at(letter.buried)}
    known |= {"deliveries": letter.deliveries, "from": letter.source}
    return {**known, **_spools.told(letter.parcel.body, letter.reason, show=show)}


# Replay.


def replay(path: Path, url: QueueUrl, *, timeout: float, as_json: bool) -> int:
    """Put the events of the file *path* into the queue; the file stays as it is."""
    events, unfit = _events_of(path)
    sent, why = 0, ""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    with _opened(url) as store, _spools.progress(len(events), as_json=as_json) as show:
        left = events
        while left and time.monotonic() < deadline:
            batch = left[:_BATCH]
            try:
                refused = store.hand_over(batch, deadline)
                why = next((each.message for each in refused.values()), why)
            except QueueError as error:
                refused, why = dict.fromkeys(range(len(batch))), str(error)
            left = [batch[place] for place in refused] + left[_BATCH:]
            sent = len(events) - len(left)
            show(sent)
            if refused:
                pause.wait(min(_POLL, max(0.0, deadline - time.monotonic())))
    told = {"found": len(events), "sent": sent, "left": len(left), "unfit": unfit}
    if as_json:
        print(json.dumps(told))
    else:
        print(
            f"{sent} of {len(events)} events put into the queue, {len(left)} left"
            + (f" ({why})" if left else "")
            + (f"; {unfit} lines hold no event" if unfit else "")
        )
    return 0 if not left and not unfit else 1


def _events_of(path: Path) -> tuple[list[OdpEvent], int]:
    """Return the events of a spool's file, or of one with an event's JSON a line."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_SPOOL)) == _SPOOL:
                with Visit(path) as visit:
                    return [restored(body) for body in visit.events()], 0
            file.seek(0)
            lines = [line for line in file if line.strip()]
    except (OSError, SpoolError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise Failed(f"{path} cannot be read: {said}") from None
    made = [_made(line) for line in lines]
    return [each for each in made if each is not None], made.count(None)


def _made(line: bytes) -> OdpEvent | None:
    """Return the event of *line*, with an id of its own if it has none."""
    try:
        body = json.loads(line)
        return OdpEvent(
            body["action"], body["identifiers"], body.get("type"), body.get("data")
        )
    except (ValueError, TypeError, KeyError, AttributeError, InvalidEventError):
        return None


def _say(line: str) -> None:
    print(f"odp-logging: {line}", file=sys.stderr, flush=True)
