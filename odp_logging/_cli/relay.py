"""The command ``relay``: deliver what applications put into a queue."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from .._config.parsers import parse_seconds
from .._flusher.relay import Relay
from .._runtime.diagnostics import print_line
from .._runtime.lock import monotonic
from .._runtime.text import format_count
from .command_parser import add_commands
from .errors import CommandError
from .options import (
    add_json_option,
    add_queue_option,
    make_int_type,
    parse_text,
    parse_with,
    print_message,
)
from .queue import load_queue_config, open_engine
from .relay_metrics import MetricsServer
from .terminal import DIM, SUCCESS, WARNING, print_table, show_status_line

if TYPE_CHECKING:
    from .._stores.queue.messages import Consumer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``relay`` and ``relay status``."""
    parser.description = (
        "Takes events from a queue and delivers them, with ODP_API_KEY and"
        " ODP_API_HOST, until SIGTERM or Ctrl-C. Exit status 0 if every event it had"
        " taken is settled, 1 if a request outlasted --grace, 3 if ODP refuses the"
        " key."
    )
    add_queue_option(parser)
    _add_worker_options(parser)
    _add_lease_options(parser)
    _add_metrics_options(parser)
    texts = {"status": "See what waits, and which relays work."}
    (status,) = add_commands(parser, texts).values()
    parser.set_defaults(run=run)  # without a command, it delivers
    # Without a default: it would replace a URL that stands before the word `status`.
    add_queue_option(status, default=argparse.SUPPRESS)
    add_json_option(status)
    status.set_defaults(run=run_status)


def _add_worker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=make_int_type(1, 256),
        default=1,
        metavar="N",
        help="Requests sent at the same time (default: %(default)s).",
    )
    parser.add_argument(
        "--grace",
        type=parse_with(parse_seconds),
        # Kubernetes kills 30 s after SIGTERM, by default.
        default=25.0,
        metavar="SECONDS",
        help="How long a shutdown may take (default: %(default)s).",
    )


def _add_lease_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lease",
        type=make_int_type(1, 3600),
        default=30,
        metavar="SECONDS",
        help="How long a worker that does not renew its lease keeps events; more than"
        " a request takes (default: %(default)s).",
    )
    parser.add_argument(
        "--max-deliveries",
        type=make_int_type(1, 1000),
        default=10,
        metavar="N",
        help="How many workers may lease an event before it becomes a dead letter"
        " (default: %(default)s).",
    )


def _add_metrics_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics-port",
        type=make_int_type(0, 65535),
        metavar="P",
        help="Answer /metrics (with the extra prometheus) and /healthz on this port, 0"
        " for a free port (default: neither).",
    )
    # By default only this machine: the page asks for no password.
    parser.add_argument(
        "--metrics-host",
        type=parse_text,
        default="127.0.0.1",
        metavar="HOST",
        help="The address for --metrics-port (default: %(default)s).",
    )


def run(options: argparse.Namespace) -> int:
    """Deliver the events of the queue until a signal; return the exit status."""
    url, config = load_queue_config(options.queue)
    destination = config.destination()
    if destination is None:
        raise CommandError(
            "ODP_API_KEY is not set; a relay needs the key of the ODP account"
        )
    try:
        relay = Relay(
            url,
            config,
            destination,
            workers=options.workers,
            grace=options.grace,
            lease=options.lease,
            max_deliveries=options.max_deliveries,
            report=print_message,
        )
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from None
    print_message(
        f"relay of {url.display_url} to {destination.display_url},"
        f" {format_count(options.workers, 'worker')}"
    )
    with (
        _serve_metrics(relay, options.metrics_host, options.metrics_port),
        show_status_line(RateLine(relay).build_text),
    ):
        return relay.run()


class RateLine:
    """Describes how fast *relay* delivers: what happened since the last line."""

    def __init__(self, relay: Relay, *, clock: Callable[[], float] = monotonic) -> None:
        self._relay = relay
        self._clock = clock
        self._last = (clock(), 0)
        self._rate = 0.0

    def build_text(self) -> str:
        """Return the counts so far, and events per second since the last call."""
        counts = [worker.store.counts() for worker in self._relay.workers]
        delivered = sum(count.delivered for count in counts)
        rejected = sum(sum(count.rejected.values()) for count in counts)
        now, (before, delivered_before) = self._clock(), self._last
        # rich may ask more than once for one line.
        if now - before >= _MIN_RATE_SECONDS:
            self._rate = (delivered - delivered_before) / (now - before)
            self._last = (now, delivered)
        depth = self._relay.last_depth
        return (
            f"{format_count(delivered, 'event')} delivered, {self._rate:,.0f}/s,"
            f" {format_count(rejected, 'dead letter')}; {depth.ready:,} ready,"
            f" {depth.leased:,} leased"
        )


_MIN_RATE_SECONDS = 0.5


@contextmanager
def _serve_metrics(relay: Relay, host: str, port: int | None) -> Iterator[None]:
    # Compared with None, because port 0 stands for a free one.
    if port is None:
        yield
        return
    try:
        server = MetricsServer(relay, host, port)
    except OSError as error:
        raise CommandError(
            f"cannot listen on port {port} of {host}: {error.strerror}; name another"
            " port with --metrics-port"
        ) from None
    print_message(f"metrics at http://{host}:{server.port}/metrics")
    with closing(server):
        yield


def _print_workers(consumers: Sequence[Consumer]) -> None:
    """Print those that are alive, then those that have ended."""
    consumers = sorted(consumers, key=lambda worker: not worker.is_alive)
    rows = [
        [
            (worker.name, ""),
            ("working", SUCCESS) if worker.is_alive else ("ended", WARNING),
            (f"{worker.pending:,}", ""),
            (f"{worker.idle:.0f} s ago", DIM),
        ]
        for worker in consumers
    ]
    if print_table(("worker", "state", "leased", "last request"), rows):
        return
    for worker in consumers:
        leased = f"{format_count(worker.pending, 'event')} leased"
        if worker.is_alive:
            text = f"{leased}, last request {worker.idle:.0f} s ago"
        else:
            text = f"ended, {leased}; other workers take over when its lease ends"
        print_line(f"{worker.name}: {text}")


def run_status(options: argparse.Namespace) -> int:
    """Print the number of events in the queue, and its workers."""
    url, config = load_queue_config(options.queue)
    with open_engine(url) as engine:
        depth, pause = engine.read_depth(), engine.read_pause()
        problems = engine.find_problems()
        consumers = sorted(engine.list_consumers(), key=lambda worker: worker.idle)
    workers = [consumer for consumer in consumers if consumer.is_alive]
    ended = [consumer for consumer in consumers if not consumer.is_alive]
    if options.json:
        status = {"queue": url.display_url, **depth._asdict()}
        # JSON has no number for a pause without an end.
        status["paused"] = None if math.isinf(pause) else pause
        status["problems"] = list(problems)
        status["workers"] = [worker._asdict() for worker in workers]
        status["ended_workers"] = [worker._asdict() for worker in ended]
        print(json.dumps(status))
        return 0
    for problem in problems:
        print_line(problem)
    _print_workers(consumers)
    print_line(
        f"{url.display_url}: {format_count(depth.ready, 'event')} ready,"
        f" {depth.leased:,} leased, {format_count(depth.dead, 'dead letter')},"
        f" {format_count(len(workers), 'worker')}"
        + (f", oldest event {depth.oldest:.0f} s old" if depth.oldest else "")
        + (f"; paused{_format_pause(pause, config.max_retry_delay)}" if pause else "")
    )
    return 0


def _format_pause(seconds: float, longest: float) -> str:
    # Clocks and the way of the answer make a second.
    if seconds <= longest + 1:
        return f" for {seconds:.1f} s at ODP's request"
    length = "without an end" if math.isinf(seconds) else f"for {seconds:,.0f} s"
    return f" {length}, which ODP did not ask for; relays wait for {longest:g} s"
