"""What the library says when something is wrong: what happened, was done, is to do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from odp_logging import ConfigurationError, OdpClient
from odp_logging.emulator import Emulator

from ..conftest import KEY

WHO = {"email": "ada@example.com"}

Said = Callable[[], list[str]]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    """Return the library's lines, each of them one line that names nobody."""

    def lines() -> list[str]:
        records = [each for each in caplog.records if each.name == "odp_logging"]
        return [each.getMessage() for each in records]

    with caplog.at_level(logging.WARNING, "odp_logging"):
        yield lines
    for line in lines():
        assert "\n" not in line
        assert KEY not in line and "ada@" not in line


def make(emulator: Emulator | None = None, **settings: Any) -> OdpClient:
    """Return a client, of the emulator if there is one."""
    if emulator is not None:
        settings = {"api_key": KEY, "api_host": emulator.url, **settings}
    return OdpClient(handle_sigterm=False, shutdown_timeout=0.1, **settings)


def test_no_key(said):
    """What is missing, what becomes of the events, where the key is, how to go on."""
    client = make(max_queue_size=7)
    client.send_odp_event("a", WHO)
    client._destinations.flusher.abandon("exit")

    assert said() == [
        "ODP_API_KEY is not set and no api_key= was given; up to 7 events or"
        " 64 MiB are kept. Find the public key in ODP under Account Settings > APIs,"
        " or run `odp-logging emulator` and set ODP_API_KEY=test"
        " ODP_API_HOST=http://127.0.0.1:8181"
    ]


def test_no_identifiers(emulator, said):
    """Which event, where it was logged, that it was not sent, what to pass."""
    client = make(emulator)
    client.send_odp_event("purch\nase", {}, "order")
    assert client.flush(10)

    (line,) = said()
    assert line.startswith(f"{__file__}:")
    assert line.endswith(
        ": event rejected: no identifiers in order/purch?ase, which was not sent; pass"
        ' odp_identifiers={"email": ...} or bind them once:'
        " odp_logging.bind_identifiers(fs_user_id=...)"
    )


@pytest.mark.parametrize("place", ["memory", "the spool"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key(emulator, said, tmp_path, status, place):
    """The key's end, how many events wait and where, when it is tried again."""
    emulator.fault(status=status)
    more = {} if place == "memory" else {"spool": tmp_path, "durability": "crash"}
    tmp_path.chmod(0o700)
    client = make(emulator, **more)
    for _ in range(2):
        client.send_odp_event("a", WHO)
    client.flush(0.5)
    client.close(0)

    assert said() == [
        f"{emulator.url} answered {status} and refuses the key …-see; 2 events are kept"
        f" in {place} and one probe is sent every 60 s; check api_key and api_host"
    ]
    emulator.clear_faults()
    assert client.close(10)


def test_the_region(said):
    """Which region the key names, where events go, which host would be right."""
    make(api_key="key-of-europe-eu1", api_host="https://api.zaius.com")
    make(api_key="key-of-elsewhere", api_host="https://api.eu1.odp.optimizely.com")

    assert said() == [
        "the key ends with -eu1, but api_host is https://api.zaius.com, and events go"
        " there; https://api.eu1.odp.optimizely.com would be right: leave api_host out"
        " to follow the key",
        "the key names no region, but api_host is https://api.eu1.odp.optimizely.com,"
        " and events go there; https://api.zaius.com would be right: leave api_host out"
        " to follow the key",
    ]


def test_the_buffer_is_full(emulator, said):
    """The bounds and the policy, how many were dropped so far, what to raise."""
    emulator.fault(status=503)
    client = make(emulator, max_queue_size=3)
    for _ in range(10):
        client.send_odp_event("a", WHO)
    client.flush(0.3)
    emulator.clear_faults()
    assert client.close(10)

    lost = client.stats.dropped["overflow"]
    (line,) = [line for line in said() if "full" in line]
    assert line == (
        "the buffer is full (max_queue_size=3, max_queue_bytes=64 MiB,"
        f' overflow="drop_oldest"); {lost} events were dropped so far. Raise the'
        " bound, or check why ODP does not accept events"
    )


def test_the_spool_is_full(emulator, said, tmp_path):
    """A spool's own bound is named, what was dropped, and what to raise."""
    emulator.fault(status=503)
    tmp_path.chmod(0o700)
    client = make(emulator, spool=tmp_path, durability="crash", spool_max_bytes=1500)
    for _ in range(20):
        client.send_odp_event("a", WHO)
    client.flush(0.3)
    emulator.clear_faults()
    assert client.close(10)

    (line,) = [line for line in said() if "spool_max_bytes" in line]
    assert line.startswith(f"the spool {tmp_path} holds spool_max_bytes; the oldest")
    assert "; set a larger spool_max_bytes, or check why ODP" in line


def test_a_variable_that_is_not_set(monkeypatch, said):
    """A literal ${NAME} raises as a keyword, and is said of a variable."""
    with pytest.raises(ConfigurationError) as caught:
        make(api_key="${NO_SUCH}")
    assert str(caught.value) == (
        "api_key refers to ${NO_SUCH}, which is not set; export NO_SUCH, or leave"
        " api_key out"
    )

    monkeypatch.setenv("ODP_API_KEY", "${NO_SUCH}")
    assert make()._config.api_key is None
    assert said() == [
        "ODP_API_KEY refers to ${NO_SUCH}, which is not set; export NO_SUCH, or leave"
        " ODP_API_KEY out; the default is used"
    ]
    monkeypatch.setenv("NO_SUCH", KEY)
    assert make()._config.find_source("api_key") == "ODP_API_KEY"
    assert str(make()._config.api_key) == "…-see"


def test_the_end_of_an_outage(emulator, said):
    """How many events were waiting; written once, and not after a later delivery."""
    emulator.fault(status=403)
    client = make(emulator)
    for _ in range(3):
        client.send_odp_event("a", WHO)
    client.flush(0.3)
    emulator.clear_faults()
    assert client.flush(10)
    client.send_odp_event("a", WHO)
    assert client.close(10)

    _, line = said()
    assert (
        line == f"{emulator.url} answers again; 3 events were waiting and are sent now"
    )


def test_the_end_of_a_process_with_a_refused_key(emulator):
    """The last line repeats what ODP answered, and what to check."""
    emulator.fault(status=403)
    program = """
from odp_logging import OdpClient
OdpClient(shutdown_timeout=0.3).send_odp_event("a", {"vuid": "v"})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr.splitlines()[-1].endswith(
        f"they are lost; {emulator.url} answered 403 and refuses the key …{KEY[-4:]};"
        " check api_key and api_host; set spool to keep such events for the next"
        " process"
    )


@pytest.mark.parametrize("spool", [False, True])
def test_the_end(emulator, tmp_path, spool):
    """How many events were not delivered, after how long, and where they are now."""
    emulator.fault(status=503)
    more = f", spool={str(tmp_path / 'spool')!r}" if spool else ""
    program = f"""
from odp_logging import OdpClient
client = OdpClient(shutdown_timeout=0.3{more})
client.send_odp_event("a", {{"vuid": "v"}})
client.send_odp_event("b", {{"vuid": "v"}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url},
        capture_output=True,
        text=True,
        timeout=60,
    )

    line = done.stderr.splitlines()[-1]
    assert line.startswith("odp_logging: exiting with 2 undelivered events after 0.")
    if spool:
        assert line.endswith("they are kept in the spool; the next process sends them")
    else:
        assert line.endswith(
            f"they are lost; {emulator.url} answered 503; set spool to keep such events"
            " for the next process"
        )
