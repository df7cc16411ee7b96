"""``odp-logging demo``: a small shop, an outage, and a count of what arrived."""

from __future__ import annotations

import json
import logging
import select
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NoReturn, TextIO

from ._client import OdpClient
from ._shop import Shop
from ._stats import Stats

_OUTAGE = 2.0
_TO_START = 15.0
_TO_FLUSH = 20.0
_TO_END = 5.0

_FAULTS: list[dict[str, Any]] = [
    # Kept, and the answer lost: the client must send it again, ODP knows it by its id.
    {"drop": "after", "count": 1},
    {"status": 503, "seconds": _OUTAGE},
]


def run(
    *,
    events: int,
    port: int,
    keep: bool,
    seconds: float = 4.5,
    out: TextIO | None = None,
) -> int:
    """
    Play the demo and tell it on *out*; return 0 only if nothing was lost.

    Args:
        events: How many events the shop logs.
        port: The emulator's; 0 takes a free one.
        keep: Whether the emulator stays up afterwards, until a signal ends it.
        seconds: How long the shop is open.
        out: Where it is told; None for stdout.
    """
    out = sys.stdout if out is None else out
    with ExitStack() as stack:
        stack.enter_context(_ended_like_ctrl_c())
        process = stack.enter_context(_emulator(port))
        url = _url_of(process)
        if url is None:
            return 1
        _tell(out, "ODP emulator", f"{url}        (open this page to watch)")
        stack.enter_context(_library_warnings(out))
        status = play(url, out, events=events, seconds=seconds)
        if keep:
            _wait_for_end(process, url, out)
        else:
            gone = "gone with the demo; odp-logging demo --keep keeps it"
            _tell(out, "page", f"{url}        ({gone})")
        return status


def play(url: str, out: TextIO, *, events: int, seconds: float) -> int:
    """Play and tell it against the emulator at *url*; return the exit status."""
    try:
        return _played(url, out, events=events, seconds=seconds)
    except BrokenPipeError:
        raise  # nobody reads us any more
    except OSError as error:
        _tell(out, "failed", f"the emulator does not answer: {error}")
        return 1


def _played(url: str, out: TextIO, *, events: int, seconds: float) -> int:
    """Run the shop through the outage; tell what became of its events."""
    client = OdpClient(
        "demo",
        api_host=url,
        flush_interval=0.1,
        max_queue_size=max(10_000, events),
        max_queue_bytes=1024 * max(10_000, events),
        max_retry_delay=1.0,  # this outage is short: see it end soon
        shutdown_timeout=0.5,
        handle_sigterm=False,
        enabled=True,  # whatever the environment says to the user's own application
        background=True,
    )
    closing = threading.Event()
    shop = Shop(client, events=events, seconds=seconds, closing=closing)
    with shop:
        who = f"{len(shop.tills)} threads log {events} events"
        _tell(out, "shop", f"{who}, half by logging, half by structlog")
        closing.wait(seconds * 0.3)
        _post(f"{url}/_emulator/faults", _FAULTS)
        how_long = f"for {_OUTAGE:.0f} s the emulator fails"
        _tell(out, "outage", f"{how_long}; the shop goes on")
        shop.join()
    client.close(_TO_FLUSH)
    stats = _get(f"{url}/_emulator/stats")
    _tell(out, "recovery", f"{stats['faults_fired']} requests had failed")
    return summary(out, shop.costs(), client.stats, stats)


def summary(
    out: TextIO, costs: Sequence[int], client: Stats, emulator: Mapping[str, Any]
) -> int:
    """
    Tell what was counted, here and at the emulator; return the exit status.

    Args:
        costs: Nanoseconds of each log call, sorted.
        client: What the client counted.
        emulator: What the emulator did.
    """
    logged, unique = len(costs), emulator["unique"]
    duplicates = emulator["duplicates"]
    known = " (same idempotence id, counted once by ODP)" if duplicates else ""
    _tell(out, "", "")
    _tell(out, "logged", f"{logged}")
    _tell(out, "delivered", f"{unique}")
    _tell(out, "lost", f"{logged - unique}")
    _tell(out, "duplicates", f"{duplicates}{known}")
    for what, count in _troubles(client, emulator).items():
        _tell(out, what, count)
    _tell(out, "batches", f"{client.batches}")
    _tell(out, "retries", f"{client.requests - client.batches}")
    median, p99 = (costs[int(logged * share)] / 1000 for share in (0.5, 0.99))
    _tell(out, "log call", f"median {median:.1f}, p99 {p99:.1f} microseconds")
    return 0 if logged == unique and not _troubles(client, emulator) else 1


def _troubles(client: Stats, emulator: Mapping[str, Any]) -> dict[str, str]:
    counts = {
        "rejected": client.rejected or emulator["rejected"],
        "dropped": client.dropped,
        "waiting": client.pending,
    }
    return {what: _said(count) for what, count in counts.items() if count}


def _said(count: int | Mapping[str, int]) -> str:
    if isinstance(count, int):
        return str(count)
    return ", ".join(f"{number} {reason}" for reason, number in count.items())


def _tell(out: TextIO, what: str, text: str) -> None:
    out.write(f"{what:<15}{text}".rstrip() + "\n")
    out.flush()


# The emulator: a process of its own, so that the shop's log calls are timed alone.


@contextmanager
def _emulator(port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the emulator, and end it by its id whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "odp_logging", "emulator", "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        # A Ctrl-C is for us: the emulator is needed until the last event is counted.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_TO_END)
        if process.stdout is not None:
            process.stdout.close()


def _url_of(process: subprocess.Popen[str]) -> str | None:
    """Return the address the emulator says it has; None, said on stderr, if none."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _TO_START)
    if not readable:
        sys.stderr.write(f"the emulator did not start within {_TO_START:.0f} s\n")
        return None
    # An empty line is its end: why, it has said on stderr itself.
    return process.stdout.readline().strip().rpartition(" ")[2] or None


def _wait_for_end(process: subprocess.Popen[str], url: str, out: TextIO) -> None:
    try:
        _tell(out, "page", f"{url} stays up until Ctrl-C")
        _tell(out, "next", f"ODP_API_KEY=test ODP_API_HOST={url} python app.py")
        process.wait()
        _tell(out, "", "the emulator has ended")
    except KeyboardInterrupt:
        _tell(out, "", "")


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let what ends a process from outside take the same way out as Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    old = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _library_warnings(out: TextIO) -> Iterator[None]:
    """Show what the library says about itself between the lines of the demo."""
    logger = logging.getLogger("odp_logging")
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter(f"{'library':<15}%(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _get(url: str) -> Any:
    return _asked(urllib.request.Request(url))


def _post(url: str, content: object) -> Any:
    return _asked(
        urllib.request.Request(
            url,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
    )


def _asked(request: urllib.request.Request) -> Any:
    # Past any proxy: it is this machine that is asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TO_END) as answer:
        return json.load(answer)
