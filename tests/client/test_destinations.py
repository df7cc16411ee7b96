"""Destinations of a client: keys, hosts and datafiles, and changes of them."""

from __future__ import annotations

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from odp_logging import (
    ConfigurationError,
    OdpClient,
    OdpHandler,
)
from odp_logging.emulator import Emulator

from ..conftest import KEY
from .clients import LOGGED, WHO, list_events, make_client, read_warnings


def test_events_without_a_key_are_kept(emulator, caplog):
    """They are reported once, and sent when a key is configured."""
    client = OdpClient(handle_sigterm=False)
    for _ in range(3):
        client.send_odp_event("viewed", WHO)

    assert client.flush(0.05) is False
    assert client.stats.state == "unconfigured"
    assert client.stats.pending == 3
    assert len(read_warnings(caplog)) == 1
    assert read_warnings(caplog)[0].startswith("ODP_API_KEY is not set")

    client.configure(KEY, api_host=emulator.url)
    assert client.flush(5)
    assert len(list_events(emulator)) == 3
    client.close()


def test_configure_takes_a_datafile(emulator):
    """A datafile that comes later names the destination."""
    client = OdpClient(handle_sigterm=False)
    client.send_odp_event("viewed", WHO)
    entry = {"key": "odp", "host": emulator.url, "publicKey": KEY}
    client.configure(datafile={"integrations": [entry]})

    assert client.flush(5)
    assert len(list_events(emulator)) == 1
    client.close()


def test_configure_without_a_key_raises():
    """configure() without a key says so."""
    with pytest.raises(ConfigurationError, match="found no key"):
        OdpClient().configure(datafile={})


def test_a_change_of_key_does_not_move_old_events(caplog):
    """Pending events still go to the destination of their log call."""
    with Emulator(key="old") as old, Emulator(key="new") as new:
        old.fault(status=401, count=1)
        client = OdpClient("old", api_host=old.url, handle_sigterm=False)
        client.send_odp_event("viewed", WHO, data={"n": 1})
        assert client.flush(0.3) is False

        client.configure("new", api_host=new.url)
        client.send_odp_event("viewed", WHO, data={"n": 2})
        assert new.wait_for(1, timeout=5)
        assert client.flush(5)

        assert [event["data"]["n"] for event in list_events(old)] == [1]
        assert [event["data"]["n"] for event in list_events(new)] == [2]
        assert client.stats.delivered == 2
        client.close()


@pytest.mark.parametrize("spool", [False, True], ids=["memory", "spool"])
def test_kept_events_go_to_the_next_destination(
    spool, emulator, logger, caplog, tmp_path
):
    """After keep_until_configured(), events go to what is configured next."""
    settings = {"spool": tmp_path / "spool"} if spool else {}
    with Emulator(key="new") as new, make_client(emulator, **settings) as client:
        logger.addHandler(OdpHandler(client=client))
        log = partial(logger.info, "x", extra={"odp_action": "a", **LOGGED})
        log()
        client._keep_until_configured("not now; up to {bound} are kept")
        log()
        client._keep_until_configured("still not")
        assert (client.flush(5), client.stats.state) == (False, "unconfigured")
        assert (len(list_events(emulator)), client.stats.pending) == (1, 1)
        client.configure("new", api_host=new.url)
        log()
        assert client.flush(5)

        assert (len(list_events(emulator)), len(list_events(new))) == (1, 2)
        assert read_warnings(caplog) == ["not now; up to 64 MiB of events are kept"]
        assert client.stats.delivered == client.stats.accepted == 3


def test_concurrent_changes_of_the_key_agree(logger):
    """Later events go to the last key, on the fast path too."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Emulator() as one, Emulator() as other:
            for turn in range(100):
                client = make_client(one)
                handler = OdpHandler(client=client)
                logger.addHandler(handler)
                with ThreadPoolExecutor() as threads:
                    for number, server in enumerate((other, one, other)):
                        change = partial(client.configure, api_host=server.url)
                        threads.submit(change, f"{turn}-{number}")
                logger.info("x", extra={"odp_action": f"{turn}", **LOGGED})
                assert client.close(5)
                logger.removeHandler(handler)

                host = client._destinations.current.api_host
                last = one if host == one.url else other
                assert list_events(last)[-1]["action"] == f"{turn}"
    finally:
        sys.setswitchinterval(interval)


def test_earlier_destinations_are_released(emulator):
    """Their flushers end after delivery, and their counts are kept."""
    client = OdpClient(KEY, api_host=emulator.url, handle_sigterm=False)
    with Emulator() as other:
        for turn in range(25):
            client.send_odp_event("viewed", WHO)
            assert client.flush(5)
            client.configure(f"key-{turn}", api_host=other.url)

        assert client.close()
        client.configure(KEY, api_host=emulator.url)
        assert len(client._destinations.history[0]) <= 18
        assert client.stats.delivered == 25
        assert client.stats.accepted == 25


def test_configuring_the_same_destination_changes_nothing(client, emulator):
    """A datafile that is polled builds no new flusher for each poll."""
    threads = threading.active_count()
    for _ in range(5):
        client.configure(KEY, api_host=emulator.url)

    assert threading.active_count() == threads
    client.send_odp_event("viewed", WHO)
    assert client.flush(5)


def test_a_new_key_keeps_the_configured_host(emulator):
    """configure(api_key=...) changes the key, and not the host that was named."""
    with Emulator(key="new") as other:
        client = OdpClient("old", api_host=other.url, handle_sigterm=False)
        client.configure("new")
        client.send_odp_event("viewed", WHO)

        assert client.close(5)
        assert len(list_events(other)) == 1


def test_a_host_without_a_key_is_used_once_a_key_is_known(emulator):
    """A client made with a host alone sends there once the key is known."""
    client = OdpClient(api_host=emulator.url, handle_sigterm=False)
    client.configure(KEY)
    client.send_odp_event("viewed", WHO)

    assert client.close(5)
    assert len(list_events(emulator)) == 1


def test_a_datafile_given_to_configure_overrides_the_environment(emulator, monkeypatch):
    """What is passed to configure() counts, whatever the environment says."""
    monkeypatch.setenv("ODP_API_KEY", "from the environment".replace(" ", "-"))
    client = OdpClient(handle_sigterm=False)
    entry = {"key": "odp", "host": emulator.url, "publicKey": KEY}
    client.configure(datafile={"integrations": [entry]})
    client.send_odp_event("viewed", WHO)

    assert client.close(5)
    assert len(list_events(emulator)) == 1


def test_a_new_host_alone_keeps_the_key(emulator):
    """configure(api_host=...) moves later events to that host with the same key."""
    client = OdpClient(KEY, handle_sigterm=False)
    client.configure(api_host=emulator.url)
    client.send_odp_event("viewed", WHO)

    assert client.close(5)
    assert len(list_events(emulator)) == 1


def test_a_collected_client_without_a_key_reports_its_events(caplog):
    """Dropping an unconfigured client with events in it is said."""
    client = OdpClient(handle_sigterm=False)
    client.send_odp_event("viewed", WHO)
    del client
    gc.collect()

    assert any("never had a key" in line for line in read_warnings(caplog)) or any(
        "ODP_API_KEY is not set" in line for line in read_warnings(caplog)
    )
