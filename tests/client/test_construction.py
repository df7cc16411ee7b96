"""Likely mistakes are told when a client is built, in one line each."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from odp_logging import (
    ConfigurationError,
    OdpClient,
    OdpHandler,
    OdpProcessor,
    bound_data,
    bound_identifiers,
    flush,
)

from ..conftest import KEY
from .clients import LOGGED, WHO, list_events, make_client, read_warnings

HOST = "https://api.zaius.com"


@pytest.fixture(autouse=True)
def no_events(monkeypatch):
    """No event of these tests leaves the machine."""
    monkeypatch.delenv("ODP_API_KEY", raising=False)
    monkeypatch.delenv("ODP_API_HOST", raising=False)


def build(**settings: Any) -> OdpClient:
    """Return a client that would send to ODP."""
    return OdpClient(
        **{"api_key": KEY, "api_host": HOST, "handle_sigterm": False, **settings}
    )


def test_a_spool_that_cannot_be_made_is_told(caplog, tmp_path):
    """The cause, what becomes of the events, and what to do; delivery goes on."""
    (tmp_path / "file").write_text("")
    for spool in (tmp_path / "file", tmp_path / "file" / "spool"):
        caplog.clear()
        build(spool=spool)
        (line,) = read_warnings(caplog)
        assert line.startswith(f"the spool {spool} cannot be used: ")
        assert "events stay in memory" in line and "set spool= to another" in line
        assert "no directory" in line or "Not a directory" in line


def test_a_good_spool_is_checked_without_a_trace(caplog, tmp_path):
    """Nothing is created at construction: the process may give up its rights later."""
    build(spool=tmp_path / "new" / "spool")
    build(spool=tmp_path / "off", enabled=False)

    assert read_warnings(caplog) == []
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    "key",
    [
        "your-api-key",
        "<your-key>",
        "xxx",
        "XXXX-XXXX",
        "changeme",
        '"abcdefghijklm"',
        "'abcdefghijklm",
        "$KEY",
        "API_KEY",
        "None",
    ],
)
def test_a_placeholder_key_is_told(key, caplog):
    """One line, which does not show the key."""
    build(api_key=key)

    (line,) = read_warnings(caplog)
    assert line.startswith("the key from the keyword api_key= is in quotes or a place")
    assert key not in line


@pytest.mark.parametrize("key", [KEY, "W4WzcEs-ABgXorzY7h1LCQ", "test", "public.priv"])
def test_other_keys_are_not_told(key, caplog, emulator):
    """Nor is any key for an emulator, which accepts it."""
    build(api_key=key)
    OdpClient("changeme", api_host=emulator.url, handle_sigterm=False)

    assert read_warnings(caplog) == []


def test_a_misspelt_variable_is_told(caplog, monkeypatch):
    """A variable of another program is not."""
    for name in ("ODP_FLUSH_INTERVALL", "ODP_TIMOUT", "ODP_BATCH_SIZE", "odp_spool"):
        monkeypatch.setenv(name, "3")
    for name in ("ODP_ENVIRONMENT", "ODP_LOG_LEVEL", "ODP_REGION", "ODPTIMEOUT"):
        monkeypatch.setenv(name, "3")
    build()

    assert read_warnings(caplog) == [
        f"{name} is no setting; did you mean {meant}? Rename it, or unset it"
        for name, meant in (
            ("ODP_BATCH_SIZE", "ODP_MAX_BATCH_SIZE"),
            ("ODP_FLUSH_INTERVALL", "ODP_FLUSH_INTERVAL"),
            ("ODP_TIMOUT", "ODP_TIMEOUT"),
            ("odp_spool", "ODP_SPOOL"),
        )
    ]


def test_a_misspelt_key_variable_is_told(caplog, monkeypatch):
    """It stands beside the line that the key is missing."""
    monkeypatch.setenv("ODP_APIKEY", KEY)
    client = OdpClient(handle_sigterm=False)

    (line,) = read_warnings(caplog)
    assert "did you mean ODP_API_KEY?" in line
    assert KEY not in line
    assert client._destinations.current is None


def test_a_salt_without_names_is_told(caplog):
    """Nothing is hashed without names."""
    build(hash_salt="pepper")
    (line,) = read_warnings(caplog)
    assert line.startswith("hash_salt is set and hash_identifiers is not")
    assert "pepper" not in line

    caplog.clear()
    build(hash_salt="pepper", hash_identifiers=["email"])
    assert read_warnings(caplog) == []


@pytest.mark.parametrize("name", ["info", "WARNING", "Error"])
def test_the_name_of_a_level_is_no_key(name):
    """Other handlers have the level as first argument."""
    with pytest.raises(ConfigurationError, match='write level="INFO"'):
        OdpHandler(name)


def test_the_class_is_no_processor():
    """structlog calls the class with three arguments."""
    with pytest.raises(ConfigurationError, match=r"OdpProcessor\(\)"):
        OdpProcessor(None, "info", {"event": "sold"})  # type: ignore[call-arg,arg-type]


def test_a_bound_call_without_with_is_told(caplog):
    """It binds nothing; the line has the place of the call."""
    line = test_a_bound_call_without_with_is_told.__code__.co_firstlineno + 3
    bound_identifiers(fs_user_id="u1")
    bound_data(page="basket")
    gc.collect()

    assert read_warnings(caplog) == [
        f"{__file__}:{line + number}: bound_{what}() was called without `with`; it"
        f" binds nothing. Write `with bound_{what}(...):`, or call bind_{what}()"
        for number, what in enumerate(("identifiers", "data"))
    ]


def test_bound_calls_that_are_used_are_not_told(caplog, emulator):
    """As a block, as a decorator, with a value that cannot be bound, and nested."""
    client = make_client(emulator)
    bound = bound_identifiers(fs_user_id="outer")

    @bound_data(page="basket")
    def call(depth: int) -> None:
        if depth:
            return call(depth - 1)
        client.send_odp_event("viewed", {})

    with bound, bound_identifiers(fs_user_id="inner"):
        with bound:
            call(2)
        call(0)
    call(1)
    del bound
    gc.collect()

    assert client.close(5)
    found = [event["identifiers"] for event in list_events(emulator)]
    assert found == [{"fs_user_id": "outer"}, {"fs_user_id": "inner"}]
    lines = read_warnings(caplog)
    assert len(lines) == 1 and "no identifiers" in lines[0]


def test_swapped_arguments_are_told(caplog, emulator):
    """The line has the place, and the right order."""
    client = make_client(emulator)
    client.send_odp_event(WHO, "purchased")  # type: ignore[arg-type]
    client.send_odp_event("purchased", LOGGED["odp_identifiers"])

    assert client.close(5)
    assert client.stats.rejected == {"bad_action": 1}
    (line,) = read_warnings(caplog)
    assert line.startswith(f"{__file__}:")
    assert 'send_odp_event("purchased", {"email": ...})' in line


def test_a_timeout_may_be_text(emulator):
    """What is no number raises one line that says so."""
    client = make_client(emulator)
    client.send_odp_event("viewed", WHO)

    assert client.flush("5")  # type: ignore[arg-type]
    for call in (client.flush, client.close, flush):
        with pytest.raises(TypeError, match=r"a number of seconds, such as .* not 's"):
            call("soon")  # type: ignore[arg-type]
    client.close(5)
