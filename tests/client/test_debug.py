"""The setting debug: a line for each event or batch, and nothing without it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import OdpClient, OdpHandler, OdpProcessor, bound_identifiers
from odp_logging._client.router import Router
from odp_logging._flusher.reports import Reports

from ..conftest import KEY
from .clients import make_client

MAIL = "ann.secret@example.com"
WHO = {"email": MAIL}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Return a function that lists the debug lines of the library so far."""
    caplog.set_level(logging.DEBUG)
    yield lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == "odp_logging" and record.levelno == logging.DEBUG
    ]


def find(lines: list[str], text: str) -> list[int]:
    """Return the positions of the lines that contain *text*."""
    return [index for index, line in enumerate(lines) if text in line]


def test_each_step_of_an_event_has_a_line(emulator, lines, logger):
    """Captured with file and line, sent, accepted: in this order and without values."""
    handler = OdpHandler(KEY, api_host=emulator.url, debug=True, handle_sigterm=False)
    logger.addHandler(handler)
    logger.info(
        "sold",
        extra={
            "odp_action": "purchased",
            "odp_identifiers": {**WHO, "fs_user_id": "user-777"},
            "odp_data": {"card": "4111-1111"},
        },
    )
    assert handler.client.flush(10)

    found = lines()
    captured = find(found, "captured fullstack/purchased with email=***, fs_user_id=**")
    sent = find(found, f"to {emulator.url}: fullstack/purchased")
    accepted = find(found, f"{emulator.url} accepted 1 event: fullstack/purchased")
    assert (captured, sent, accepted) == ([1], [2], [3])
    assert found[1].startswith(f"{__file__}:")
    text = "\n".join(found)
    assert not [
        value for value in (MAIL, "user-777", "4111-1111", KEY, "card") if value in text
    ]


def test_processor_and_client_write_the_same_lines(emulator, lines):
    """The other two inputs go the same way."""
    processor = OdpProcessor(
        api_key=KEY, api_host=emulator.url, debug=True, handle_sigterm=False
    )
    processor(
        None, "info", {"event": "x", "odp_action": "bought", "odp_identifiers": WHO}
    )
    with bound_identifiers(vuid="vuid-888"):
        processor.client.send_odp_event("viewed by vuid-888", WHO)
    assert processor.client.flush(10)

    assert find(lines(), "captured fullstack/bought with email=***")
    assert find(lines(), "captured fullstack/viewed by *** with vuid=***, email=***")
    assert find(lines(), "accepted 2 events: fullstack/bought, fullstack/viewed by ***")
    assert "vuid-888" not in "\n".join(lines())


def test_events_that_are_not_delivered_have_a_line(emulator, lines, caplog):
    """Each is named once with the reason: rejected here, by ODP, or left out.

    The first of a log call is named in the warning, and has no debug line.
    """
    emulator.fault(status=400, match="poison", keep=False)
    client = make_client(
        emulator,
        debug=True,
        before_send=lambda event: None if event.action == "hidden" else event,
    )
    for action in ("good", "poison", "poison", "hidden"):
        client.send_odp_event(action, WHO)
    for _ in range(3):
        client.send_odp_event("nobody", {})
        client.send("no event")  # type: ignore[arg-type]
    assert client.close(10)

    found = lines()
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    assert (
        len(find(warnings, "event rejected: no identifiers in fullstack/nobody")) == 1
    )
    assert len(find(warnings, ": send takes an OdpEvent, not str")) == 1
    assert len(find(warnings, "the first a fullstack/poison")) == 1
    assert len(find(found, "event rejected: no identifiers in fullstack/nobody")) == 2
    assert len(find(found, "event rejected: send takes an OdpEvent, not str")) == 2
    assert len(find(found, "rejected 1 event: fullstack/poison: refused by")) == 1
    assert len(find(found, "dropped 1 event: before_send: fullstack/hidden")) == 1
    assert MAIL not in "\n".join(found)


def test_an_outage_and_an_overflow_have_lines(emulator, lines):
    """Attempts that failed, and the events that had no room."""
    emulator.fault(status=503)
    client = make_client(
        emulator, debug=True, max_queue_size=5, shutdown_timeout=0.2, max_retry_delay=1
    )
    for number in range(8):
        client.send_odp_event(f"viewed{number}", WHO)
    client.close()
    emulator.clear_faults()
    assert client.close(20)

    found = lines()
    assert find(found, "not accepted, to be sent again: ")
    dropped = [found[index] for index in find(found, "dropped ")]
    assert sum(line.count("fullstack/viewed") for line in dropped) == 3
    assert client.stats.dropped == {"overflow": 3}


def test_events_without_a_destination_have_a_line(lines):
    """They are dropped one by one, each with the reason."""
    client = OdpClient(debug=True, handle_sigterm=False)
    client._drop_until_configured("no_consent", "no consent yet")
    client.send_odp_event("viewed", WHO)

    assert find(lines(), "dropped 1 event without a destination: no_consent")
    assert client.stats.dropped == {} and client.stats.rejected == {"no_consent": 1}


def test_the_spool_has_lines(emulator, lines, home):
    """Events on disk are captured, sent and accepted as others are."""
    client = make_client(emulator, debug=True, spool=home, durability="crash")
    client.send_odp_event("viewed", WHO)
    assert client.close(10)

    assert find(lines(), "captured fullstack/viewed")
    assert find(lines(), f"{emulator.url} accepted 1 event: fullstack/viewed")


def test_a_thread_less_client_writes_in_order(emulator, lines):
    """With background=False the event is captured first and then sent."""
    client = make_client(emulator, debug=True, background=False, flush_interval=0)
    client.send_odp_event("viewed", WHO)
    assert client.close(10)

    words = [line.split("fullstack")[0] for line in lines()[1:]]
    assert "captured" in words[0] and "sending" in words[1] and "accepted" in words[2]


def test_a_handler_that_logs_an_event_for_each_line_is_no_loop(emulator, logger):
    """The library's lines make no events, even where a handler makes one of them."""
    handler = OdpHandler(KEY, api_host=emulator.url, debug=True, handle_sigterm=False)
    logger.addHandler(handler)
    calls = 0

    class Echo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal calls
            calls += 1
            logger.info("x", extra={"odp_action": "echo", "odp_identifiers": WHO})

    own, echo = logging.getLogger("odp_logging"), Echo(logging.DEBUG)
    own.addHandler(echo)
    own.setLevel(logging.DEBUG)
    try:
        logger.info("x", extra={"odp_action": "viewed", "odp_identifiers": WHO})
        assert handler.client.flush(10)
        assert handler.client.flush(10)
    finally:
        own.removeHandler(echo)
        own.setLevel(logging.NOTSET)

    assert calls < 10
    assert [entry["event"]["action"] for entry in emulator.events()] == ["viewed"]
    assert handler.client.stats.rejected["in_callback"] >= 1


def test_hostile_values_get_a_line_and_raise_nothing(emulator, lines):
    """Texts of any kind and length stay on one short line."""
    client = make_client(emulator, debug=True)
    client.send_odp_event("a\nb\x1b[31m" + "x" * 5000, {"email": "e" * 5000})
    client.send_odp_event(7, {"email": 10**5000})  # type: ignore[arg-type]
    client.send_odp_event("many", {f"key{n}": n for n in range(500)})
    client.send_odp_event("odd", [object()])  # type: ignore[arg-type]
    client.close(10)

    assert find(lines(), "captured fullstack/a?b")
    assert find(lines(), "captured fullstack/many with key0=***")
    assert all(line.isprintable() for line in lines())
    assert all(len(line) < 800 for line in lines())


def test_a_client_says_that_debug_is_on(emulator, lines, monkeypatch):
    """One line with the destination, even where no event is ever logged."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    monkeypatch.setenv("ODP_DEBUG", "1")
    OdpClient(handle_sigterm=False)
    OdpClient(handle_sigterm=False, enabled=False)
    monkeypatch.delenv("ODP_API_KEY")
    OdpClient(handle_sigterm=False)
    make_client(emulator, queue_url="postgresql://ann:pass@127.0.0.1:1/shop")

    assert lines() == [
        f"debug is on; events go to {emulator.url}, with the key from ODP_API_KEY",
        "debug is on; enabled is off, from the keyword enabled=",
        "debug is on; no destination yet",
        "debug is on; events go to postgresql://127.0.0.1:1/shop?table=odp_events",
    ]


def test_without_logging_configured_the_lines_go_to_stderr(emulator):
    """ODP_DEBUG=1 alone is enough, also for the lines at exit."""
    code = f"""if True:
        import logging, odp_logging
        log = logging.getLogger("shop")
        log.addHandler(odp_logging.OdpHandler())
        log.setLevel(logging.INFO)
        log.info("x", extra={{"odp_action": "bought", "odp_identifiers": {WHO}}})
    """
    settings = {"ODP_DEBUG": "1", "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "odp_logging: <string>:6: captured fullstack/bought" in done.stderr
    assert f"odp_logging: {emulator.url} accepted 1 event" in done.stderr
    assert MAIL not in done.stderr and KEY not in done.stderr


@pytest.mark.parametrize("silence", ["level", "disable"])
def test_the_lines_can_be_silenced(silence, emulator, lines, capfd):
    """As the library's other lines: by the level of its logger, or logging.disable."""
    own = logging.getLogger("odp_logging")
    if silence == "level":
        own.setLevel(logging.WARNING)
    else:
        logging.disable(logging.DEBUG)
    try:
        client = make_client(emulator, debug=True)
        client.send_odp_event("viewed", WHO)
        assert client.close(10)
    finally:
        own.setLevel(logging.NOTSET)
        logging.disable(logging.NOTSET)
    assert lines() == [] and capfd.readouterr().err == ""


def test_without_the_setting_nothing_is_attached(emulator, lines):
    """No line, and the classes and the fast path that every log call uses."""
    client = make_client(emulator)
    client.send_odp_event("viewed", WHO)
    assert client.close(10)

    assert lines() == []
    assert type(client._router) is Router
    assert type(client._destinations.flusher.reports) is Reports
    assert client._router.inbox is client._router.own_inbox
