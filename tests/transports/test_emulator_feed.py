"""The library's own lines reach an emulator on this machine, and no other server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from odp_logging._capture import interception
from odp_logging._config.destination import Destination
from odp_logging._runtime.diagnostics import RECENT_LINES, Diagnostics
from odp_logging._runtime.secret import Secret
from odp_logging._transports.emulator_feed import EmulatorFeed
from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..waiting import until

PROGRAM = """
import logging, time, odp_logging
log = logging.getLogger("shop")
log.addHandler(odp_logging.OdpHandler())
log.setLevel(logging.INFO)
"""
REJECTED = 'log.info("x", extra={"odp_action": "bought", "odp_identifiers": {}})\n'


@pytest.fixture(autouse=True)
def no_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No lines of other tests; and outside of a test, as far as the feed can see."""
    monkeypatch.setattr(interception, "current", interception.NOTHING)
    RECENT_LINES.clear()
    yield
    RECENT_LINES.clear()


def make_feed(url: str, clock: Callable[[], float] = time.monotonic) -> EmulatorFeed:
    """Return a feed to the server at *url*."""
    return EmulatorFeed(Destination(Secret(KEY), url), clock)


def run_program(body: str, url: str, **environment: str) -> str:
    """Return the stderr of a program that logs events to *url*."""
    own = {"ODP_API_KEY": KEY, "ODP_API_HOST": url, **environment}
    # In a child of pytest with its plugin, the network block would hold, too.
    inherited = {k: v for k, v in os.environ.items() if k != "ODP_BLOCK_NETWORK"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + body],
        env={**inherited, **own},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


def test_lines_and_counts_are_posted_once(emulator: Emulator) -> None:
    """Each line once, in order; nothing at all while there is nothing to tell."""
    feed, counts = make_feed(emulator.url), {"waiting": 3}
    feed.publish(lambda: counts)
    assert emulator._api.diagnostics.get_news(0)[1] is None

    diagnostics = Diagnostics()
    diagnostics.warn("one", "shop.py:7: event rejected")
    diagnostics.warn("two", "ODP answered\n503")
    for _ in range(3):
        feed.publish(lambda: counts)

    texts = [line["text"] for line in emulator.diagnostics()]
    assert texts == ["shop.py:7: event rejected", "ODP answered?503"]
    assert [line["kind"] for line in emulator.diagnostics()] == ["one", "two"]
    assert f"({os.getpid()})" in emulator.diagnostics()[0]["process"]
    assert emulator.requests() == []


def test_changed_counts_are_posted_at_intervals(emulator: Emulator) -> None:
    """Also without a new line, but at most once a second."""
    now = [0.0]
    feed = make_feed(emulator.url, lambda: now[0])
    Diagnostics().warn("one", "a line")
    versions = []
    for now[0], waiting in ((0.0, 0), (0.5, 5), (1.1, 6), (1.2, 7), (2.3, 7), (9.9, 7)):
        feed.publish(partial(dict, waiting=waiting))
        versions.append(emulator._api.diagnostics.get_news(0)[0])
    assert versions == [1, 1, 2, 2, 3, 3]


def test_many_lines_are_bounded() -> None:
    """While nothing takes them, the oldest are forgotten."""
    for number in range(500):
        RECENT_LINES.add("kind", f"line {number}")
    texts = [line.text for line in RECENT_LINES.take()]
    assert texts == [f"line {number}" for number in range(400, 500)]


def test_another_server_gets_one_request_and_no_line() -> None:
    """A proxy or a test's server on loopback is asked for its health, once."""
    requests: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.requestline)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        feed = make_feed(f"http://127.0.0.1:{server.server_port}")
        for number in range(5):
            Diagnostics().warn(f"kind{number}", "a line")
            feed.publish(dict)
        server.shutdown()

    assert requests == ["GET /healthz HTTP/1.1"]


def test_a_server_that_hangs_delays_little_and_is_left_alone() -> None:
    """One attempt of half a second, then a minute without any."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        feed = make_feed(f"http://127.0.0.1:{silent.getsockname()[1]}")
        Diagnostics().warn("kind", "a line")
        started = time.monotonic()
        for _ in range(20):
            feed.publish(dict)
        assert time.monotonic() - started < 2
    feed = make_feed(feed._destination.api_host)  # nothing listens any more
    feed.publish(dict)
    assert RECENT_LINES.has_lines()


def test_in_a_test_that_intercepts_events_nothing_is_posted(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pytest plugin's network block also holds for the library's own lines."""
    blocked = interception.NOTHING._replace(block=object())  # type: ignore[arg-type]
    monkeypatch.setattr(interception, "current", blocked)
    Diagnostics().warn("kind", "a line")
    make_feed(emulator.url).publish(dict)
    assert emulator.diagnostics() == []


def test_a_short_program_shows_its_rejected_call(emulator: Emulator) -> None:
    """The line is there although no event ever left the process."""
    run_program(REJECTED, emulator.url)

    [line] = emulator.diagnostics()
    assert line["text"].startswith("<string>:6: event rejected: no identifiers")
    assert emulator.requests() == []


def test_a_running_program_shows_what_makes_no_event(emulator: Emulator) -> None:
    """A line that comes before any event starts the thread that posts it."""
    run_program(
        'log.handlers[0].client.send("x")\nwhile True:\n    time.sleep(0.02)\n'
        "    if odp_logging._runtime.diagnostics.RECENT_LINES.has_lines(): continue\n"
        "    time.sleep(1)\n    break\n",
        emulator.url,
    )
    assert "send takes an OdpEvent" in emulator.diagnostics()[0]["text"]


def test_an_outage_is_shown_while_it_lasts(emulator: Emulator) -> None:
    """With the number of waiting events, although none of them arrives."""
    emulator.fault(status=503)
    event = REJECTED.replace("{}}", '{"email": "a@example.com"}}')
    run_program(f"{event}time.sleep(2.5)\n", emulator.url, ODP_SHUTDOWN_TIMEOUT="0.1")

    assert "answered 503" in emulator.diagnostics()[0]["text"]
    _, kept = emulator._api.diagnostics.get_news(0)
    assert kept is not None
    [process] = kept["processes"].values()
    assert process["counts"]["waiting"] == 1


def test_a_program_without_a_problem_posts_nothing(emulator: Emulator) -> None:
    """Nor does one that is switched off, or that sends without a thread."""
    event = REJECTED.replace("{}}", '{"email": "a@example.com"}}')
    run_program(event, emulator.url)
    run_program(REJECTED, emulator.url, ODP_ENABLED="0")
    run_program(REJECTED, emulator.url, ODP_BACKGROUND="0")

    assert len(emulator.events()) == 1
    assert emulator._api.diagnostics.get_news(0)[1] is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reports_for_itself(emulator: Emulator) -> None:
    """Lines of the parent are posted by the parent alone."""
    run_program(
        f"import os\n{REJECTED}time.sleep(1.5)\npid = os.fork()\n{REJECTED}"
        "time.sleep(1.5)\nif pid: os.waitpid(pid, 0)\n",
        emulator.url,
    )
    until(lambda: len({line["process"] for line in emulator.diagnostics()}) == 2)
    places: dict[int, list[str]] = {}
    for line in emulator.diagnostics():
        places.setdefault(line["process"], []).append(line["text"].split(": ")[0])
    assert sorted(map(sorted, places.values())) == [
        ["<string>:10"],
        ["<string>:10", "<string>:7"],
    ]
