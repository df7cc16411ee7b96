"""The command ``demo``: an outage, the emulator's process, and the summary."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from odp_logging import Stats
from odp_logging._cli.demo.run import build_summary, is_complete, print_summary
from odp_logging._cli.main import main

from .conftest import COMMAND, Start, fetch_stats


def has_ended(url: str) -> bool:
    """Whether no process listens at *url* any more."""
    port = urlsplit(url).port
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def parse_rows(text: str) -> dict[str, str]:
    """Return the demo's lines by their label."""
    return {line[:15].strip(): line[15:] for line in text.splitlines()}


@pytest.mark.slow
def test_nothing_is_lost_through_an_outage(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo delivers every event, and prints all its counts."""
    status = main(["demo", "--events", "90"])
    text = capsys.readouterr().out
    lines = parse_rows(text)

    assert status == 0
    assert (lines["logged"], lines["delivered"], lines["lost"]) == ("90", "90", "0")
    assert "same idempotence id, counted once by ODP" in lines["duplicates"]
    assert int(lines["batches"]) > 0
    assert int(lines["retries"]) > 0
    # The begin of the outage, and its end.
    assert "events are kept" in text
    assert "answers again" in lines["library"]
    assert "median" in lines["log call"]
    assert "p99" in lines["log call"]
    url = lines["ODP emulator"].split()[0]
    assert has_ended(url)


@pytest.mark.slow
def test_the_command_ends_by_itself() -> None:
    """``python -m odp_logging demo`` ends with status 0 and nothing on stderr."""
    ended = subprocess.run(
        [*COMMAND, "demo"], capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 0
    assert ended.stderr == ""
    assert parse_rows(ended.stdout)["delivered"] == "300"


@pytest.mark.slow
def test_keep_leaves_the_emulator_running(start: Start) -> None:
    """With ``--keep`` the emulator answers until a signal ends the demo."""
    process = start("demo", "--keep", "--events", "20")
    assert process.stdout is not None
    lines = {}
    for line in process.stdout:
        lines.update(parse_rows(line))
        if "page" in lines:
            break
    url = lines["page"].split()[0]

    assert fetch_stats(url)["unique"] == 20

    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert has_ended(url)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_demo_and_emulator(start: Start, number: signal.Signals) -> None:
    """A signal during the demo ends both, without a traceback."""
    process = start("demo")
    assert process.stdout is not None
    url = process.stdout.readline().split()[2]
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert has_ended(url)


@pytest.mark.slow
def test_a_closed_pipe_ends_the_demo(start: Start) -> None:
    """``odp-logging demo | head -1`` ends without a traceback."""
    process = start("demo")
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().split()[2]
    process.stdout.close()
    process.wait(20)

    assert process.returncode == 1
    assert "Traceback" not in process.stderr.read()
    assert has_ended(url)


def test_a_missing_emulator_is_reported() -> None:
    """An emulator that does not answer is one line, with status 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    program = f"""
import sys
from odp_logging._cli.demo.emulator import Emulator
from odp_logging._cli.demo.run import run_shop
emulator = Emulator("http://127.0.0.1:{port}")
sys.exit(run_shop(emulator, sys.stdout, events=4, seconds=0.1) is None)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 1
    assert "does not answer" in parse_rows(ended.stdout)["failed"]
    assert "4 undelivered" in ended.stderr


def summarize(client: Stats, **emulator: int) -> tuple[int, dict[str, str]]:
    """Return the status and the rows of a summary of four log calls."""
    out = io.StringIO()
    counts = {"unique": 4, "duplicates": 0, "rejected": 0, **emulator}
    summary = build_summary([1000, 2000, 3000, 4000], client, counts)
    print_summary(out, summary)
    return int(not is_complete(summary)), parse_rows(out.getvalue())


def test_a_complete_delivery_has_status_0() -> None:
    """If each log call is one event at the emulator, nothing is lost."""
    status, lines = summarize(Stats(batches=2, requests=3))

    assert status == 0
    assert lines["lost"] == "0"
    assert lines["duplicates"] == "0"
    assert (lines["batches"], lines["retries"]) == ("2", "1")
    assert lines["log call"] == "median 3.0, p99 4.0 microseconds"
    assert not {"rejected", "dropped", "waiting"} & lines.keys()


def test_lost_events_are_counted_by_reason() -> None:
    """Events that did not arrive are lost, and the status is 1."""
    client = Stats(dropped={"overflow": 2}, rejected={"refused": 1}, pending=1)
    status, lines = summarize(client, unique=0, duplicates=3)

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
def test_a_drop_or_rejection_has_status_1(
    client: Stats, emulator: dict[str, int]
) -> None:
    """It has status 1 even if every event arrived."""
    status, lines = summarize(client, **emulator)

    assert status == 1
    assert lines["lost"] == "0"
