"""The command ``odp-logging``: its words, its exit statuses, what the demo tells."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from odp_logging import Stats, __version__, _demo
from odp_logging._cli import main

COMMAND = [sys.executable, "-W", "error", "-m", "odp_logging"]

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Started]:
    """Start the command, and see to it that it has ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def answers(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/_emulator/stats", timeout=10) as answer:
        return json.load(answer)


def is_gone(url: str) -> bool:
    port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def told(text: str) -> dict[str, str]:
    """Return the demo's lines by their first word."""
    return {line[:15].strip(): line[15:] for line in text.splitlines()}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` names the program and its version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"odp-logging {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "COMMAND"),
        (["sell"], "'sell'"),
        (["demo", "--events", "0"], "from 1 to 100000"),
        (["demo", "--events", "many"], "'many'"),
        (["demo", "--port", "65536"], "from 0 to 65535"),
        (["emulator", "--port", "-1"], "--port"),
        (["emulator", "--key", ""], "--key"),
        (["emulator", "--colour", "red"], "--colour"),
        (["doctor", "--timeout", "0"], "from 1 to 300"),
        (["doctor", "--import", ""], "--import"),
        (["send"], "ACTION"),
        (["send", "sold", "--identifier", "ada"], "--identifier"),
        (["tail", "--lines", "0"], "--lines"),
    ],
)
def test_usage(
    arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be understood is said in one line on stderr, with status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    shown = capsys.readouterr()

    assert ended.value.code == 2
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert wrong in shown.err


def test_emulator_command(start: Started) -> None:
    """``odp-logging emulator`` serves with its key until SIGTERM, and ends with 0."""
    process = start("emulator", "--port", "0", "--key", "mine")
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]

    assert answers(url)["received"] == 0

    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("command", ["emulator", "demo"])
def test_taken_port(command: str, taken: int) -> None:
    """A port that is taken is named in one line, without a traceback."""
    ended = subprocess.run(
        [*COMMAND, command, "--port", str(taken)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert str(taken) in ended.stderr


def test_emulator_command_in_this_process(
    taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's exit status is the emulator's own."""
    assert main(["emulator", "--port", str(taken)]) == 1
    assert str(taken) in capsys.readouterr().err


@pytest.mark.slow
def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo loses nothing through an outage, and counts what it says it counts."""
    status = main(["demo", "--events", "90"])
    lines = told(capsys.readouterr().out)

    assert status == 0
    assert (lines["logged"], lines["delivered"], lines["lost"]) == ("90", "90", "0")
    assert "same idempotence id, counted once by ODP" in lines["duplicates"]
    assert int(lines["batches"]) > 0
    assert int(lines["retries"]) > 0
    assert "events are kept" in lines["library"]
    assert "median" in lines["log call"]
    assert "p99" in lines["log call"]
    url = lines["ODP emulator"].split()[0]
    assert is_gone(url)


@pytest.mark.slow
def test_demo_is_one_process_and_quick() -> None:
    """``python -m odp_logging demo`` ends by itself with 0 and nothing on stderr."""
    ended = subprocess.run(
        [*COMMAND, "demo"], capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 0
    assert ended.stderr == ""
    assert told(ended.stdout)["delivered"] == "300"


@pytest.mark.slow
def test_demo_keep(start: Started) -> None:
    """With ``--keep`` the emulator is there until a signal, then status and end."""
    process = start("demo", "--keep", "--events", "20")
    assert process.stdout is not None
    lines = {}
    for line in process.stdout:
        lines.update(told(line))
        if "page" in lines:
            break
    url = lines["page"].split()[0]

    assert answers(url)["unique"] == 20

    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert is_gone(url)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_interrupted(start: Started, number: signal.Signals) -> None:
    """A signal in the middle ends the demo and its emulator, without a traceback."""
    process = start("demo")
    assert process.stdout is not None
    url = process.stdout.readline().split()[2]
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert is_gone(url)


@pytest.mark.slow
def test_demo_without_a_reader(start: Started) -> None:
    """``odp-logging demo | head -1`` ends quietly."""
    process = start("demo")
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().split()[2]
    process.stdout.close()
    process.wait(20)

    assert process.returncode == 1
    assert "Traceback" not in process.stderr.read()
    assert is_gone(url)


def test_demo_without_its_emulator() -> None:
    """An emulator that is gone is said in one line, with status 1."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    program = f"""
import sys
from odp_logging import _demo
sys.exit(_demo.play("http://127.0.0.1:{port}", sys.stdout, events=4, seconds=0.1))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 1
    assert "does not answer" in told(ended.stdout)["failed"]
    assert "4 undelivered" in ended.stderr


def summary(client: Stats, **emulator: int) -> tuple[int, dict[str, str]]:
    out = io.StringIO()
    counts = {"unique": 4, "duplicates": 0, "rejected": 0, **emulator}
    status = _demo.summary(out, [1000, 2000, 3000, 4000], client, counts)
    return status, told(out.getvalue())


def test_summary_of_success() -> None:
    """Where each call is one event at the emulator, the status is 0."""
    status, lines = summary(Stats(batches=2, requests=3))

    assert status == 0
    assert lines["lost"] == "0"
    assert lines["duplicates"] == "0"
    assert (lines["batches"], lines["retries"]) == ("2", "1")
    assert lines["log call"] == "median 3.0, p99 4.0 microseconds"
    assert not {"rejected", "dropped", "waiting"} & lines.keys()


def test_summary_of_loss() -> None:
    """What did not arrive is lost, with its reasons, and the status is 1."""
    client = Stats(dropped={"overflow": 2}, rejected={"refused": 1}, pending=1)
    status, lines = summary(client, unique=0, duplicates=3)

    assert status == 1
    assert lines["lost"] == "4"
    assert lines["duplicates"].startswith("3 (same idempotence id")
    assert lines["dropped"] == "2 overflow"
    assert lines["rejected"] == "1 refused"
    assert lines["waiting"] == "1"


@pytest.mark.parametrize(
    ("client", "emulator"),
    [(Stats(dropped={"in_doubt": 1}), {}), (Stats(), {"rejected": 1})],
)
def test_summary_of_trouble(client: Stats, emulator: dict[str, int]) -> None:
    """A drop or rejection gives status 1 even where every event arrived."""
    status, lines = summary(client, **emulator)

    assert status == 1
    assert lines["lost"] == "0"


def test_heavy_parts_are_not_imported() -> None:
    """The command alone loads neither the emulator nor what sends events."""
    program = "import sys, odp_logging._cli; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ.copy(),
    )
    loaded = set(ended.stdout.split())

    assert not loaded & {"odp_logging.emulator", "odp_logging._client", "structlog"}


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"], ["--help"]])
def test_a_reader_that_has_gone_is_nothing_to_complain_of(words):
    """A closed pipe is met as quietly at the end as before it."""
    reader, writer = os.pipe()
    os.close(reader)
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            [*COMMAND, *words],
            env={**environ, "ODP_API_HOST": "http://127.0.0.1:9"},
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")
