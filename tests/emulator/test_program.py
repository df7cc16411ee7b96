"""The emulator as a program: one line when it is ready, and a clean end."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from odp_logging.emulator import Emulator

from .conftest import KEY, PATIENCE, an_event, call, dial, request_bytes

pytestmark = pytest.mark.slow

READY = "ODP emulator http://127.0.0.1:"
PAGE = "ODP emulator page http://127.0.0.1:"


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The emulator in a process that does not outlive the test."""
    command = [sys.executable, "-m", "odp_logging.emulator", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line on stdout, if it comes in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(PATIENCE), "no line came"
    return process.stdout.readline()


def url_of(process: subprocess.Popen[str]) -> str:
    """The address that the program says."""
    return first_line(process).removeprefix("ODP emulator ").strip()


def status_of(url: str, key: str) -> int:
    """What an event with *key* is answered."""
    _, _, body = request_bytes([an_event()]).partition(b"\r\n\r\n")
    headers = {"x-api-key": key, "content-type": "application/json"}
    request = Request(f"{url}/v3/events", body, headers)
    try:
        with urlopen(request, timeout=PATIENCE) as response:
            return int(response.status)
    except OSError as error:
        with contextlib.closing(error):  # type: ignore[type-var]
            return int(getattr(error, "code", 0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(number: signal.Signals) -> None:
    """It says its address once it answers, and SIGTERM and SIGINT end it cleanly."""
    with program("--port", "0") as process:
        line = first_line(process)
        url = line.removeprefix("ODP emulator ").strip()
        assert line.startswith(READY)
        assert status_of(url, "any") == 202

        page = process.stdout.readline() if process.stdout else ""
        assert page.startswith(f"{PAGE}{url.rpartition(':')[2]}/?token=")

        process.send_signal(number)
        rest, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, rest, errors) == (0, "", "")


def test_an_open_page_does_not_hold_it_up() -> None:
    """SIGTERM ends it while a stream and an idle connection are open."""
    with program() as process:
        url = url_of(process)
        port = int(url.rpartition(":")[2])
        assert process.stdout is not None
        query = process.stdout.readline().strip().rpartition("/")[2]
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as idle,
            socket.create_connection(("127.0.0.1", port), PATIENCE) as page,
        ):
            head = f"GET /_emulator/stream{query} HTTP/1.1\r\nHost: localhost"
            page.sendall(f"{head}\r\n\r\n".encode())
            assert page.recv(1_000).startswith(b"HTTP/1.1 200 ")
            process.terminate()
            _, errors = process.communicate(timeout=PATIENCE)
            assert idle.recv(1) == b""

    assert (process.returncode, errors) == (0, "")


def test_a_key_can_be_given() -> None:
    """With --key no other key is taken, and the key is not printed."""
    with program("--key", KEY) as process:
        line = first_line(process)
        url = line.removeprefix("ODP emulator ").strip()
        assert status_of(url, KEY) == 202
        assert status_of(url, "another") == 403

        process.terminate()
        rest, errors = process.communicate(timeout=PATIENCE)

    assert KEY not in line + rest + errors


def test_a_taken_port_is_said_in_one_line(odp: Emulator) -> None:
    """A port that is in use ends it with status 1 and one clear line."""
    port = odp.url.rpartition(":")[2]
    with program("--port", port) as process:
        output, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert output == ""
    assert errors == (
        f"port {port} is in use: pass another one, or --port 0 for a free one\n"
    )
    assert call(odp, "GET", "/healthz").status == 200
    dial(odp).close()


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_cannot_be_is_said(port: str) -> None:
    """A number that is no port is said in one line as well."""
    with program("--port", port) as process:
        _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert f"port {port} cannot be used" in errors


def test_a_word_is_no_port() -> None:
    """What is no number is refused by the command line, with the usage."""
    with program("--port", "http") as process:
        _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 2
    assert "usage: python -m odp_logging.emulator" in errors
    assert "Traceback" not in errors
