"""The emulator in the foreground, until it is told to end."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ._emulator import Emulator


def main(argv: Sequence[str]) -> int:
    """Read the command line and serve; answers with the exit status."""
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
    options = parser.parse_args(argv)
    return run(port=options.port, key=options.key)


def run(*, port: int, key: str | None) -> int:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM, from the main thread.

    Prints one line on stdout once requests are answered. Answers with 0, or with 1 if
    the port cannot be had.
    """
    with _end_signal() as wait_for_end:
        emulator = Emulator(port=port, key=key)
        try:
            emulator.start()
        except (OSError, OverflowError):
            print(
                f"port {port} cannot be had: give another, or 0 for a free one",
                file=sys.stderr,
            )
            return 1
        with emulator:
            print(f"ODP emulator {emulator.url}", flush=True)
            wait_for_end.recv(1)
    return 0


@contextmanager
def _end_signal() -> Iterator[socket.socket]:
    # A wake-up socket, not an Event set in a handler: the handler may run while this
    # very thread holds the event's lock.
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
