"""The command ``demo``: a small shop, an outage, and a count of what arrived."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Literal, NoReturn, TextIO

from ..._client.client import OdpClient
from ..._client.stats import Stats
from ..._runtime.text import format_count
from ..options import add_json_option, add_port_option, make_int_type
from ..terminal import (
    FAILURE,
    STRONG,
    SUCCESS,
    can_read_key,
    print_parts,
    wait_for_key,
)
from .emulator import Emulator, read_urls, start_process
from .shop import Shop

MAX_EVENTS = 100_000
"""Events of one demo: the buffer must hold them all while the emulator fails."""

_OUTAGE_SECONDS = 2.0
_OUTAGE_STARTS_AFTER = 0.3
"""Share of the shop's opening time."""

_FLUSH_TIMEOUT = 20.0

_FAILURES = ("rejected", "dropped", "waiting")
"""Counts of a summary, besides the lost events, that are 0 if all went well."""

Summary = dict[str, Any]
"""What was counted: numbers, or numbers by reason."""

Lifespan = Literal["not", "until a key", "until Ctrl-C"]
"""How long the emulator stays up after the demo."""
_BYTES_PER_EVENT = 1024

_FAULTS: list[dict[str, Any]] = [
    # The events are kept and the answer is lost: the client must send them again, and
    # the emulator recognizes them by their ids.
    {"drop": "after", "count": 1},
    {"status": 503, "seconds": _OUTAGE_SECONDS},
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``demo``."""
    parser.description = (
        "Starts the emulator, runs a small shop that logs through logging and"
        " structlog, lets the emulator fail for a while, and counts what arrived."
        " Exit status 0 if nothing was lost, else 1. On a terminal, the emulator stays"
        " up until a key is pressed."
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="Leave the emulator up afterwards, until Ctrl-C.",
    )
    add_json_option(parser)
    parser.add_argument(
        "--events",
        type=make_int_type(1, MAX_EVENTS),
        default=300,
        metavar="N",
        help="How many events the shop logs (default: %(default)s).",
    )
    add_port_option(parser, 0, "Port of the emulator (default: a free one).")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo with *options*."""
    lifespan: Lifespan = "until Ctrl-C" if options.keep else "not"
    if lifespan == "not" and not options.json and can_read_key():
        lifespan = "until a key"
    return run_demo(
        events=options.events,
        port=options.port,
        lifespan=lifespan,
        as_json=options.json,
    )


def run_demo(
    *,
    events: int,
    port: int,
    lifespan: Lifespan,
    as_json: bool = False,
    seconds: float = 4.5,
) -> int:
    """
    Run the demo and describe it on stdout; return 0 only if nothing was lost.

    Args:
        events: How many events the shop logs.
        port: The emulator's; 0 takes a free one.
        lifespan: How long the emulator stays up afterwards; a signal ends it earlier.
        as_json: Whether to describe the demo on stderr, and print its counts as JSON.
        seconds: How long the shop is open.
    """
    out = sys.stderr if as_json else sys.stdout
    with ExitStack() as stack:
        stack.enter_context(_interrupt_on_signals())
        process = stack.enter_context(start_process(port))
        emulator = read_urls(process)
        if emulator is None:
            return 1
        _print_row(out, "ODP emulator", emulator.page)
        _print_row(out, "", "open this page to watch")
        stack.enter_context(_show_library_warnings(out))
        summary = run_shop(emulator, out, events=events, seconds=seconds)
        if summary is None:
            return 1
        if as_json:
            print(json.dumps({"page": emulator.page, **summary}), flush=True)
        else:
            print_summary(out, summary)
        if lifespan == "not":
            _print_row(
                out, "page", "gone with the demo; odp-logging demo --keep keeps it"
            )
        else:
            _wait_for_end(process, emulator, out, lifespan=lifespan)
        return int(not is_complete(summary))


def run_shop(
    emulator: Emulator, out: TextIO, *, events: int, seconds: float
) -> Summary | None:
    """Run the shop through an outage of *emulator*; return None if it has failed."""
    try:
        return _run_through_outage(emulator, out, events=events, seconds=seconds)
    except BrokenPipeError:
        raise  # the reader of stdout has gone; `main` ends the command
    except OSError as error:
        _print_row(out, "failed", f"the emulator does not answer: {error}")
        return None


def _run_through_outage(
    emulator: Emulator, out: TextIO, *, events: int, seconds: float
) -> Summary:
    client = _build_client(emulator.url, events)
    closing = threading.Event()
    shop = Shop(client, events=events, seconds=seconds, closing=closing)
    with shop:
        workers = len(shop.workers)
        logs = f"{format_count(workers, 'thread')} {'logs' if workers == 1 else 'log'}"
        how = ", half by logging, half by structlog" if workers > 1 else " by logging"
        _print_row(out, "shop", f"{logs} {format_count(events, 'event')}{how}")
        closing.wait(seconds * _OUTAGE_STARTS_AFTER)
        emulator.set_faults(_FAULTS)
        text = f"for {_OUTAGE_SECONDS:.0f} s the emulator fails"
        _print_row(out, "outage", f"{text}; the shop goes on")
        shop.join()
    # Only after this, both sides have the same counts.
    client.close(_FLUSH_TIMEOUT)
    stats = emulator.read_stats()
    failed = format_count(stats["faults_fired"], "request")
    _print_row(out, "recovery", f"{failed} had failed")
    return build_summary(shop.list_call_times(), client.stats, stats)


def _build_client(url: str, events: int) -> OdpClient:
    max_events = max(10_000, events)
    return OdpClient(
        "demo",
        api_host=url,
        flush_interval=0.1,
        # The buffer must hold every event: an overflow would be a loss.
        max_queue_size=max_events,
        max_queue_bytes=_BYTES_PER_EVENT * max_events,
        max_retry_delay=1.0,  # the outage is short: retry soon after its end
        shutdown_timeout=0.5,  # after Ctrl-C, where nothing needs to be delivered
        handle_sigterm=False,  # see _interrupt_on_signals
        enabled=True,  # also if the user's environment disables the application's
        background=True,  # log calls are measured without the request
    )


def build_summary(
    call_times: Sequence[int], client: Stats, emulator: Mapping[str, Any]
) -> Summary:
    """
    Return what was counted, here and at the emulator, as ``--json`` prints it.

    Args:
        call_times: Nanoseconds of each log call, sorted.
        client: What the client counted.
        emulator: What the emulator counted.
    """
    logged, unique = len(call_times), emulator["unique"]
    median, p99 = (call_times[int(logged * share)] / 1000 for share in (0.5, 0.99))
    return {
        "logged": logged,
        "delivered": unique,
        "lost": logged - unique,
        "duplicates": emulator["duplicates"],
        "rejected": dict(client.rejected) or _count_refused(emulator["rejected"]),
        "dropped": dict(client.dropped),
        "waiting": client.pending,
        "batches": client.batches,
        "retries": client.requests - client.batches,
        "median_microseconds": round(median, 1),
        "p99_microseconds": round(p99, 1),
    }


def _count_refused(count: int) -> dict[str, int]:
    """Return the *count* of events that the emulator refused, by reason."""
    return {"refused": count} if count else {}


def is_complete(summary: Summary) -> bool:
    """Whether every event of *summary* was delivered, and none was given up."""
    return not any(summary[name] for name in ("lost", *_FAILURES))


def print_summary(out: TextIO, summary: Summary) -> None:
    """Print *summary*, a row for each count; without failures that did not occur."""
    duplicates = summary["duplicates"]
    note = " (same idempotence id, counted once by ODP)" if duplicates else ""
    median, p99 = (summary[f"{name}_microseconds"] for name in ("median", "p99"))
    rows = {
        "logged": f"{summary['logged']}",
        "delivered": f"{summary['delivered']}",
        "lost": f"{summary['lost']}",
        "duplicates": f"{duplicates}{note}",
        **{name: _format_failures(summary[name]) for name in _FAILURES},
        "batches": f"{summary['batches']}",
        "retries": f"{summary['retries']}",
        "log call": f"median {median:.1f}, p99 {p99:.1f} microseconds",
    }
    style = SUCCESS if is_complete(summary) else FAILURE
    _print_row(out, "", "")
    for label, text in rows.items():
        if text:
            is_result = label in ("delivered", "lost", *_FAILURES)
            _print_row(out, label, text, style if is_result else "")


def _format_failures(count: int | Mapping[str, int]) -> str:
    """Return *count*, by reason if it is; an empty text for none."""
    if isinstance(count, int):
        return str(count or "")
    return ", ".join(f"{number} {reason}" for reason, number in count.items())


def _print_row(out: TextIO, label: str, text: str, style: str = "") -> None:
    # Flushed: in a pipe, too, each step is shown when it happens.
    if text:
        print_parts((f"{label:<15}", STRONG), (text, style), file=out)
    else:
        print_parts((label, STRONG), file=out)


def _wait_for_end(
    process: subprocess.Popen[str],
    emulator: Emulator,
    out: TextIO,
    *,
    lifespan: Lifespan,
) -> None:
    try:
        end = "until Ctrl-C" if lifespan == "until Ctrl-C" else "until a key is pressed"
        _print_row(out, "page", emulator.page)
        _print_row(out, "", f"stays up {end}")
        command = f"ODP_API_KEY=test ODP_API_HOST={emulator.url} python app.py"
        _print_row(out, "next", command)
        if lifespan == "until a key":
            wait_for_key(lambda: process.poll() is not None)
        else:
            process.wait()
        if process.poll() is not None:
            _print_row(out, "", "the emulator has ended")
    except KeyboardInterrupt:
        _print_row(out, "", "")


@contextmanager
def _interrupt_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does, with its emulator."""

    def raise_interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    previous = {
        number: signal.signal(number, raise_interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _show_library_warnings(out: TextIO) -> Iterator[None]:
    """Print the library's own log lines among the demo's."""
    logger = logging.getLogger("odp_logging")
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter(f"{'library':<15}%(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
