"""Bound identifiers and data are in every tagged record of the task or thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import structlog

from odp_logging import (
    OdpClient,
    OdpHandler,
    bind_data,
    bind_identifiers,
    bound_data,
    bound_identifiers,
    clear_data,
    clear_identifiers,
)
from odp_logging.emulator import Emulator


@pytest.fixture
def send(client: OdpClient, emulator: Emulator, logger: Any) -> Any:
    """Log a tagged record and return the event that ODP got."""
    logger.addHandler(OdpHandler(client=client))

    def send(**fields: Any) -> Any:
        logger.info("x", extra={"odp_action": "viewed", **fields})
        assert client.flush(5)
        events = emulator.events()
        return events[-1]["event"] if events else None

    return send


class Undecided:
    """What does not say whether it is empty."""

    def __bool__(self) -> bool:
        raise ValueError("never")


def test_invalid_structlog_context_is_ignored(client, emulator):
    """Invalid values in structlog's context affect no event."""
    with structlog.contextvars.bound_contextvars(odp_identifiers=Undecided()):
        client.send_odp_event("viewed", {"fs_user_id": "u1"})

    assert client.flush(10)
    assert emulator.stats()["unique"] == 1


def test_bound_identifiers_reach_a_record_without_its_own(send):
    """A record without identifiers gets those of the context."""
    bind_identifiers(fs_user_id="u1", email="a@example.com")

    assert send()["identifiers"] == {"fs_user_id": "u1", "email": "a@example.com"}


def test_identifiers_of_the_record_override_bound_ones(send):
    """If record and context have the same identifier, the record's is sent."""
    bind_identifiers(fs_user_id="bound", email="a@example.com")

    sent = send(odp_identifiers={"FS-USER-ID": "own"})

    assert sent["identifiers"] == {"fs_user_id": "own", "email": "a@example.com"}


def test_an_empty_value_of_the_record_does_not_override_a_bound_one(send):
    """An empty identifier of the record leaves the context's in place."""
    bind_identifiers(fs_user_id="bound")

    assert send(odp_identifiers={"fs_user_id": None})["identifiers"] == {
        "fs_user_id": "bound"
    }


def test_binding_adds_and_clearing_removes(send, client):
    """bind_identifiers adds to what is bound; clear_identifiers removes all."""
    bind_identifiers(fs_user_id="u1")
    bind_identifiers(email="a@example.com")
    assert len(send()["identifiers"]) == 2

    clear_identifiers()
    send()

    assert client.stats.rejected == {"no_identifiers": 1}


def test_a_block_restores_what_was_bound_before(send, client):
    """bound_identifiers restores what was bound before, also after an exception."""
    bind_identifiers(fs_user_id="outer")
    with pytest.raises(KeyError), bound_identifiers(fs_user_id="inner", vuid="v"):
        assert send()["identifiers"] == {"fs_user_id": "inner", "vuid": "v"}
        raise KeyError

    assert send()["identifiers"] == {"fs_user_id": "outer"}


def test_bound_functions_work_as_decorators(send):
    """bound_identifiers and bound_data work as decorators."""

    @bound_identifiers(fs_user_id="u1")
    @bound_data(page="basket")
    def checkout() -> Any:
        return send()

    sent = checkout()
    assert sent["identifiers"] == {"fs_user_id": "u1"}
    assert sent["data"]["page"] == "basket"


def test_bound_data_reaches_every_event(send):
    """bind_data adds data, the record's own overrides it, clear_data removes it."""
    bind_data(page="basket", plan="pro")
    own = {"odp_identifiers": {"vuid": "v"}, "odp_data": {"plan": "basic"}}
    sent = send(**own)
    assert (sent["data"]["page"], sent["data"]["plan"]) == ("basket", "basic")

    clear_data()
    assert "page" not in send(**own)["data"]


def test_bound_data_is_copied_when_it_is_bound(send):
    """Changes after binding are not sent."""
    basket = ["shirt"]
    bind_data(basket=basket)
    basket.append("hat")

    assert send(odp_identifiers={"vuid": "v"})["data"]["basket"] == ["shirt"]


def test_structlogs_context_reaches_stdlib_records(send):
    """Values that structlog's contextvars bind as odp_* apply to logging's records."""
    structlog.contextvars.bind_contextvars(
        odp_identifiers={"fs_user_id": "u1"}, odp_data={"page": "basket"}
    )

    sent = send()
    assert sent["identifiers"] == {"fs_user_id": "u1"}
    assert sent["data"]["page"] == "basket"


def test_structlogs_context_overrides_ours_and_the_record_overrides_both(send):
    """Precedence is: this library's context, structlog's, the record's own values."""
    bind_identifiers(a="ours", b="ours", c="ours")
    structlog.contextvars.bind_contextvars(
        odp_identifiers={"b": "structlog", "c": "structlog"}
    )

    sent = send(odp_identifiers={"c": "own"})
    assert sent["identifiers"] == {"a": "ours", "b": "structlog", "c": "own"}


@pytest.mark.parametrize("odd", ["text", 5, ["a"]])
def test_bound_values_that_are_not_mappings_are_ignored(send, odd):
    """A bound odp_identifiers or odp_data that is not a mapping is ignored."""
    structlog.contextvars.bind_contextvars(odp_identifiers=odd, odp_data=odd)

    assert send(odp_identifiers={"vuid": "v"})["identifiers"] == {"vuid": "v"}


def test_structlog_without_its_private_registry_works(send, monkeypatch):
    """Without structlog's private registry, its public function is used."""
    structlog.contextvars.bind_contextvars(odp_identifiers={"fs_user_id": "u1"})
    monkeypatch.delattr(structlog.contextvars, "_CONTEXT_VARS")

    try:
        assert send()["identifiers"] == {"fs_user_id": "u1"}
    finally:
        monkeypatch.undo()


def test_bound_data_does_not_hide_invalid_data(send, client):
    """Data that is not a mapping is rejected, whatever is bound."""
    bind_data(page="basket")
    send(odp_identifiers={"vuid": "v"}, odp_data=["x"])

    assert client.stats.rejected == {"bad_data": 1}


def test_asyncio_tasks_have_separate_contexts(client, emulator, logger):
    """Each asyncio task reads only what it bound itself."""
    logger.addHandler(OdpHandler(client=client))

    async def request(number: int) -> None:
        bind_identifiers(fs_user_id=f"u{number}")
        await asyncio.sleep(0)
        logger.info("x", extra={"odp_action": "viewed", "odp_data": {"n": number}})

    async def serve() -> None:
        await asyncio.gather(*(request(number) for number in range(20)))

    asyncio.run(serve())
    assert client.flush(5)
    seen = {
        each["event"]["data"]["n"]: each["event"]["identifiers"]["fs_user_id"]
        for each in emulator.events()
    }
    assert seen == {number: f"u{number}" for number in range(20)}


def test_threads_have_separate_contexts(client, emulator, logger):
    """Each thread reads only what it bound itself."""
    logger.addHandler(OdpHandler(client=client))
    bind_identifiers(email="main@example.com")

    def work(number: int) -> None:
        bind_identifiers(fs_user_id=f"u{number}")
        logger.info("x", extra={"odp_action": "viewed"})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert client.flush(5)
    seen = [each["event"]["identifiers"] for each in emulator.events()]
    assert sorted(map(str, seen)) == [str({"fs_user_id": f"u{n}"}) for n in range(5)]


def test_everything_overrides_default_identifiers_and_data(emulator):
    """Default identifiers and data are used only if nothing else sets them."""
    with OdpClient(
        "test-key-that-nobody-may-see",
        api_host=emulator.url,
        default_identifiers={"fs-user-id": "default", "vuid": "v"},
        default_data={"plan": "basic", "shop": "uk"},
    ) as client:
        bind_identifiers(fs_user_id="bound")
        bind_data(plan="pro")
        client.send_odp_event("viewed", {"email": "a@example.com"})
        assert client.flush(5)

    sent = emulator.events()[-1]["event"]
    assert sent["identifiers"] == {
        "fs_user_id": "bound",
        "vuid": "v",
        "email": "a@example.com",
    }
    assert (sent["data"]["plan"], sent["data"]["shop"]) == ("pro", "uk")
