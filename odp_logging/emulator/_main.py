"""The emulator as a program in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ._emulator import Emulator


def main(argv: Sequence[str]) -> int:
    """Parse the command line and serve; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m odp_logging.emulator",
        description="A stand-in for ODP's events API on this machine.",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port to listen on (default: a free one)"
    )
    parser.add_argument(
        "--key", help="the only API key to accept (default: any that is not empty)"
    )
    _add_access(parser)
    options = parser.parse_args(argv)
    return run(
        port=options.port,
        key=options.key,
        host=options.host,
        token=options.token,
        allow_remote=options.allow_remote,
    )


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="IP address to listen on (%(default)s)"
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let --host be an address that other machines reach",
    )
    access = parser.add_mutually_exclusive_group()
    access.add_argument("--token", help="what the page needs (default: a new one)")
    access.add_argument(
        "--no-token",
        action="store_const",
        const="",
        dest="token",
        help="allow every client to read and clear events, and to set faults",
    )


def run(
    *,
    port: int,
    key: str | None,
    host: str = "127.0.0.1",
    token: str | None = None,
    allow_remote: bool = False,
    on_ready: Callable[[Emulator], object] | None = None,
    on_requests: Callable[[list[dict[str, Any]]], object] | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM, from the main thread.

    Prints two lines on stdout once requests are answered: where to send events, and the
    page's address with its access token. Returns 0, 1 if the port is not available, or
    2 if *host* cannot be used.

    Args:
        on_ready: called in place of printing these lines.
        on_requests: called with new requests, as `Emulator.requests` lists them, on a
            thread of its own. It may wait: responses do not wait for it.
    """
    with _handle_exit_signals() as wait_for_end:
        try:
            emulator = Emulator(port, key, host, token=token, allow_remote=allow_remote)
        except ValueError as error:
            # The message is for Python code; here the user gives an option.
            print(f"{error}".replace("allow_remote=True", _OPTION), file=sys.stderr)
            return 2
        try:
            emulator.start()
        except (OSError, OverflowError) as error:
            is_used = getattr(error, "errno", None) == errno.EADDRINUSE
            reason = "is in use" if is_used else "cannot be used"
            text = f"port {port} {reason}: pass another one, or --port 0 for a free one"
            print(text, file=sys.stderr)
            return 1
        with emulator:
            if emulator.is_remote:
                print(_format_warning(emulator, host), file=sys.stderr, flush=True)
            (on_ready or _print_urls)(emulator)
            with _follow_requests(emulator, on_requests):
                wait_for_end.recv(1)
    return 0


def _print_urls(emulator: Emulator) -> None:
    lines = f"ODP emulator {emulator.url}\nODP emulator page {emulator.page}"
    print(lines, flush=True)


@contextmanager
def _follow_requests(
    emulator: Emulator, on_requests: Callable[[list[dict[str, Any]]], object] | None
) -> Iterator[None]:
    """Call *on_requests* for new requests until the end of the block, for all of them.

    The thread is a daemon: a callback that waits for ever must not keep the process.
    """
    if on_requests is None:
        yield
        return
    ending = threading.Event()

    def follow() -> None:
        since = 0
        is_last = False
        while not is_last:
            is_last = ending.is_set()
            new = emulator.wait_for_requests(since, 0 if is_last else _POLL_SECONDS)
            if new:
                since = new[-1]["n"]
                on_requests(new)

    thread = threading.Thread(target=follow, name="odp-emulator-lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_END_SECONDS)


_POLL_SECONDS = 0.2
"""Longest time until the thread that follows requests sees the end."""

_END_SECONDS = 1.0
"""Longest wait for a callback at the end."""


_OPTION = "--allow-remote"


def _format_warning(emulator: Emulator, host: str) -> str:
    port = emulator.url.rpartition(":")[2]
    access = "reading and clearing them needs the token"
    if not emulator.token:
        access = "and can read and clear them: there is no token"
    return (
        f"warning: {host} port {port} can be reached by other machines. They can send"
        f" events, without encryption; {access}"
    )


@contextmanager
def _handle_exit_signals() -> Iterator[socket.socket]:
    # A wake-up socket, not an Event set in a handler: the handler may run while this
    # thread holds the lock of the event, and would deadlock.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer:
        old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield reader
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_fd)
