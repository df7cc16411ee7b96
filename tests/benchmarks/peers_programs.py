"""The peers, each set up as its documentation says, sending to a host on this machine.

    python -m tests.benchmarks.peers_programs carry NAME HOST EVENTS
    python -m tests.benchmarks.peers_programs call NAME HOST
    python -m tests.benchmarks.peers_programs load NAME

`carry` is a script that logs so many events and waits until they have left, `call`
measures the caller's thread, `load` an import. No connection but to this machine can be
opened in any of them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from . import shop
from .programs import hide_fast

_HERE = ("127.0.0.1", "localhost", "::1")
_BURST = 200
_BURSTS = 40


@dataclass(frozen=True, slots=True)
class Running:
    """
    A peer that is set up.

    Args:
        log: Sends one event the way its users do.
        close: Sends what is left, and ends.
        waiting: How many events it holds, as far as it tells.
        room: How many it may hold and lose none.
        step: Events between two looks at that.
    """

    log: Callable[[], object]
    close: Callable[[], object]
    waiting: Callable[[], int]
    room: int
    step: int = 50


@dataclass(frozen=True, slots=True)
class Peer:
    """
    What can be measured, and what has to be known for that.

    Args:
        title: What stands in the table.
        package: What has to be importable.
        start: Sets it up to send to a host.
        load: What a program imports, up to a sender that is ready.
        marker: What each event's text holds once, on the wire.
        status: The answer that it takes for success.
        logs: Whether it is reached through a log call; else by a call of its own.
    """

    title: str
    package: str
    start: Callable[[str], Running]
    load: str
    marker: str = '"identifiers":'
    status: int = 200
    logs: bool = False


def _own(host: str, **settings: Any) -> Running:
    from odp_logging import OdpHandler

    handler = OdpHandler("key", api_host=host, **settings)
    shop.on_root(handler)

    def close() -> None:
        handler.client.flush(60)
        handler.close()

    def waiting() -> int:
        return handler.client.stats.pending

    return Running(shop.purchase, close, waiting, 8_000, step=1_000)


def _own_500(host: str) -> Running:
    return _own(host, max_batch_size=500)


def _own_stdlib(host: str) -> Running:
    hide_fast()
    return _own(host)


def _own_stdlib_500(host: str) -> Running:
    hide_fast()
    return _own(host, max_batch_size=500)


def _optimizely(host: str, batch_size: int | None = None) -> Running:
    from optimizely.odp.odp_config import OdpConfig
    from optimizely.odp.odp_event_manager import OdpEventManager

    manager = OdpEventManager()
    manager.batch_size = batch_size or manager.batch_size
    manager.start(OdpConfig("key", host, []))

    def send() -> None:
        event = shop.fields()
        manager.send_event(
            "fullstack",
            event["odp_action"],
            event["odp_identifiers"],
            event["odp_data"],
        )

    def close() -> None:
        while manager.event_queue.qsize():
            time.sleep(0.001)
        manager.stop()

    return Running(send, close, manager.event_queue.qsize, 700)


def _optimizely_500(host: str) -> Running:
    return _optimizely(host, 500)


def _segment(host: str) -> Running:
    from segment.analytics.client import Client

    client = Client("key", host=host)

    def send() -> None:
        event = shop.fields()
        client.track(
            event["odp_identifiers"]["fs_user_id"],
            event["odp_action"],
            {**event["odp_data"], "email": event["odp_identifiers"]["email"]},
        )

    return Running(send, client.shutdown, client.queue.qsize, 9_000)


def _opentelemetry(host: str) -> Running:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    processor = BatchLogRecordProcessor(OTLPLogExporter(f"{host}/v1/logs"))
    provider = LoggerProvider()
    provider.add_log_record_processor(processor)
    shop.on_root(LoggingHandler(logger_provider=provider))
    queue = processor._batch_processor._queue
    return Running(shop.purchase, provider.shutdown, lambda: len(queue), 1_500)


def _posthog(host: str) -> Running:
    from posthog import Posthog

    client = Posthog("key", host=host)

    def send() -> None:
        event = shop.fields()
        client.capture(
            event["odp_action"],
            distinct_id=event["odp_identifiers"]["fs_user_id"],
            properties={**event["odp_data"], "email": "ada@example.com"},
        )

    return Running(send, client.shutdown, _length_of(client, "queue"), 9_000)


def _length_of(holder: Any, name: str) -> Callable[[], int]:
    queue = getattr(holder, name, None)
    return queue.qsize if queue is not None else lambda: 0


def _sentry(host: str) -> Running:
    import sentry_sdk

    sentry_sdk.init(
        dsn=f"http://key@{urlsplit(host).netloc}/1",
        enable_logs=True,
        auto_session_tracking=False,
        send_client_reports=False,
    )
    client = sentry_sdk.get_client()
    batcher: Any = client.log_batcher

    def close() -> None:
        client.flush(timeout=60)
        client.close(timeout=60)

    return Running(shop.purchase, close, lambda: len(batcher._buffer), 500)


def _amplitude(host: str) -> Running:
    from amplitude import Amplitude, BaseEvent, Config

    logging.getLogger("amplitude").setLevel(logging.WARNING)
    client = Amplitude("key", Config(server_url=f"{host}/2/httpapi"))
    came = [0, 0]

    def answered(*_: object) -> None:
        came[1] += 1

    client.configuration.callback = answered

    def send() -> None:
        event = shop.fields()
        came[0] += 1
        client.track(
            BaseEvent(
                event_type=event["odp_action"],
                user_id=event["odp_identifiers"]["fs_user_id"],
                event_properties={**event["odp_data"], "email": "ada@example.com"},
            )
        )

    return Running(send, client.shutdown, lambda: came[0] - came[1], 5_000)


def _logstash(host: str) -> Running:
    from logstash_async.handler import AsynchronousLogstashHandler
    from logstash_async.transport import HttpTransport

    name, port = urlsplit(host).hostname or "", urlsplit(host).port or 0
    transport = HttpTransport(name, port, ssl_enable=False, timeout=10.0)
    handler = AsynchronousLogstashHandler(
        name, port, transport=transport, database_path=None
    )
    shop.on_root(handler)

    def close() -> None:
        worker = handler._worker_thread
        handler.close()
        if worker is not None:
            worker.join(60)

    return Running(shop.purchase, close, lambda: 0, 1)


def _queue_handler(host: str) -> Running:
    import queue
    from logging.handlers import QueueHandler, QueueListener

    waiting: queue.Queue[Any] = queue.Queue()
    listener = QueueListener(waiting, logging.NullHandler())
    listener.start()
    shop.on_root(QueueHandler(waiting))
    return Running(shop.purchase, listener.stop, waiting.qsize, 9_000)


_HANDLER = (
    "from odp_logging import OdpHandler; OdpHandler('key', api_host='http://[::1]:1')"
)

PEERS = {
    "own": Peer("odp_logging", "odp_logging", _own, _HANDLER, logs=True),
    "own-500": Peer("odp_logging, batch 500", "odp_logging", _own_500, "", logs=True),
    "own-stdlib": Peer(
        "odp_logging, stdlib JSON", "odp_logging", _own_stdlib, "", logs=True
    ),
    "own-stdlib-500": Peer(
        "odp_logging, batch 500, stdlib JSON",
        "odp_logging",
        _own_stdlib_500,
        "",
        logs=True,
    ),
    "optimizely": Peer(
        "optimizely-sdk (OdpEventManager)",
        "optimizely",
        _optimizely,
        "import optimizely.optimizely",
    ),
    "optimizely-500": Peer(
        "optimizely-sdk, patched to batch 500", "optimizely", _optimizely_500, ""
    ),
    "queue": Peer(
        "stdlib QueueHandler, its listener throwing away",
        "logging",
        _queue_handler,
        "import logging.handlers",
        logs=True,
    ),
    "segment": Peer(
        "Segment (track)",
        "segment",
        _segment,
        "import segment.analytics",
        marker='"messageId"',
    ),
    "opentelemetry": Peer(
        "OpenTelemetry (logs over OTLP/HTTP)",
        "opentelemetry.exporter.otlp.proto.http",
        _opentelemetry,
        "import opentelemetry.sdk._logs.export,"
        " opentelemetry.exporter.otlp.proto.http._log_exporter",
        marker="odp_action",
        logs=True,
    ),
    "posthog": Peer(
        "PostHog (capture)", "posthog", _posthog, "import posthog", marker='"event":'
    ),
    "sentry": Peer(
        "Sentry (logs)",
        "sentry_sdk",
        _sentry,
        "import sentry_sdk; sentry_sdk.init()",
        marker='"odp_action"',
        logs=True,
    ),
    "amplitude": Peer(
        "Amplitude (track)",
        "amplitude",
        _amplitude,
        "import amplitude",
        marker='"event_type"',
    ),
    "logstash": Peer(
        "python-logstash-async (HTTP, cache in memory)",
        "logstash_async",
        _logstash,
        "import logstash_async.handler, logstash_async.transport",
        marker='"odp_action"',
        logs=True,
    ),
}


def carry(peer: Peer, host: str, events: int) -> dict[str, float]:
    """
    Log *events* no faster than *peer* carries them, and wait until they left.

    Each is logged, and sent: with a peer that is no handler that takes two calls.
    """
    began = time.perf_counter()
    shop.on_root(logging.NullHandler())
    running = peer.start(host)
    for number in range(events):
        if not peer.logs:
            shop.purchase()
        running.log()
        if number % running.step == 0:
            while running.waiting() > running.room:
                time.sleep(0.005)
    running.close()
    return {"cpu": time.process_time(), "wall": time.perf_counter() - began}


def call(peer: Peer, host: str) -> dict[str, float]:
    """Return the caller's seconds of a call, and of the bare logging call."""
    root = logging.getLogger()
    bare: list[logging.Handler] = [logging.NullHandler()]
    shop.on_root(bare[0])
    plain = logging.Logger.callHandlers
    running = peer.start(host)
    its_own = root.handlers[:]
    patched = logging.Logger.callHandlers  # Sentry puts itself there
    calls, floors = [], []
    running.log()
    for _ in range(_BURSTS):
        root.handlers[:] = its_own
        logging.Logger.callHandlers = patched  # type: ignore[method-assign]
        calls.append(_burst(running.log))
        while running.waiting() > running.room:
            time.sleep(0.001)
        time.sleep(0.01)  # its sender, if it has anything to send, is done by now
        root.handlers[:] = bare
        logging.Logger.callHandlers = plain  # type: ignore[method-assign]
        floors.append(_burst(shop.purchase))
    root.handlers[:] = its_own
    running.close()
    return {"call": median(calls), "floor": median(floors)}


def _burst(log: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(_BURST):
        log()
    return (time.perf_counter() - began) / _BURST


def load(peer: Peer) -> dict[str, float]:
    """Return the seconds that the imports take."""
    began = time.perf_counter()
    exec(peer.load, {})
    return {"seconds": time.perf_counter() - began}


def stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse, as an audit hook, every connection but to this machine."""
    if event == "socket.connect" and type(arguments[1]) is tuple:
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host is not None and str(host) not in _HERE:
        raise PermissionError(f"a benchmark asked for {host!r}")


def main() -> None:
    """Do what the command line says; print what was measured."""
    sys.addaudithook(stay_here)
    warnings.simplefilter("ignore")
    what, name, *rest = sys.argv[1:]
    peer = PEERS[name]
    if what == "carry":
        found = carry(peer, rest[0], int(rest[1]))
    elif what == "call":
        found = call(peer, rest[0])
    else:
        found = load(peer)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
