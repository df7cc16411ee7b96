"""Requests that are refused as a whole: counted, with the reason the emulator knows."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .conftest import KEY, an_event, call, connect, exchange, send

SECRET = "a-secret-of-the-sender"
LINES = {"content-type": "application/json"}


def note_of(odp: Emulator) -> Any:
    """Return what the emulator knows of the last request beyond its answer."""
    return odp.requests()[-1]["answer"]["note"]


@pytest.mark.parametrize(
    ("headers", "note"),
    [
        ({}, "the header x-api-key is missing"),
        ({"x-api-key": ""}, "x-api-key was empty"),
        (
            {"x-api-key": SECRET},
            "x-api-key is not the key that this emulator accepts",
        ),
    ],
)
def test_a_refused_key_has_its_reason(
    odp: Emulator, headers: dict[str, str], note: str
) -> None:
    """ODP answers Forbidden and no more; the emulator keeps why, without the key."""
    connection = connect(odp)
    reply = exchange(connection, "POST", "/v3/events", b"[]", {**LINES, **headers})
    connection.close()

    assert reply.body == b'{"message":"Forbidden"}'
    assert note_of(odp) == note
    assert SECRET not in str(odp.requests())


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b"", "it is empty"),
        (b"  ", "it is empty"),
        (b'[{"type": "ord', "unterminated string, at character 11 of 14"),
        (b"[1, 2", "expecting ',' delimiter, at the end of its 5 characters"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[1e999]", "number out of range"),
        (b"[\xff]", "it is not UTF-8 at byte 2"),
        (gzip.compress(b"[]", mtime=0), "it is compressed with gzip"),
        (b"7", "it is not an event, nor a list of events"),
        (b"[" * 1_000, "nested too deeply"),
    ],
)
def test_a_body_that_cannot_be_parsed_has_its_reason(
    odp: Emulator, body: bytes, note: str
) -> None:
    """ODP's answer is one sentence; the emulator keeps what is wrong, and where."""
    assert send(odp, body).message == "Unable to parse request body."

    assert note_of(odp) == note


def test_the_reason_has_nothing_of_the_body(odp: Emulator) -> None:
    """A body that breaks off may hold an identifier."""
    send(odp, f'[{{"email": "{SECRET}", }}]'.encode())

    assert SECRET not in note_of(odp)


def test_other_refusals_have_a_reason(odp: Emulator) -> None:
    """A content type, too many events, and a path that does not exist."""
    send(odp, b"[]", content_type="text/plain")
    assert note_of(odp) == "it was text/plain"
    send(odp, [an_event(n) for n in range(501)])
    assert note_of(odp) == "the request has 501 events"
    call(odp, "POST", "/v3/v3/events", b"[]", {**LINES, "x-api-key": KEY})
    stray = odp._api.ledger.list_requests()[-1]
    assert stray["answer"]["note"] == "events go to POST /v3/events"


def test_refused_requests_are_counted(odp: Emulator) -> None:
    """Those whose events were not taken, and no other; clearing starts again."""
    odp.fault(status=503, count=1)
    for number in range(2):
        send(odp, [an_event(number)])  # the first by the fault
    send(odp, [an_event(3)], x_api_key="other")
    send(odp, [an_event(4, type="")])  # rejected, one by one
    send(odp, [an_event(5, type=""), an_event(6)])  # the second one is not taken
    query = b'{"query": "query {customer {id}}"}'
    call(odp, "POST", "/v3/graphql", query, {**LINES, "x-api-key": KEY})
    call(odp, "POST", "/v3/nowhere", b"[]", {**LINES, "x-api-key": KEY})

    assert odp.stats()["refused"] == 4
    assert odp.stats()["rejected"] == 2
    odp.clear()
    assert odp.stats()["refused"] == 0
