"""OdpClient: direct calls, stats, adjustments that are reported, copies."""

from __future__ import annotations

import copy
import enum
import logging
import re
import time

import pytest

from odp_logging import (
    OdpClient,
    OdpEvent,
    OdpHandler,
    OdpProcessor,
    bind_identifiers,
    bound_identifiers,
)

from ..conftest import KEY
from .clients import LOGGED, WHO, list_events, make_client, read_warnings


def test_send_odp_event_takes_the_arguments_of_the_python_sdk(client, emulator):
    """The SDK's example call, positional arguments and all, sends its event."""
    identifiers = {"fs_user_id": "user123", "email": "a@example.com"}
    data = {"item": "shirt", "price": 50.00}
    client.send_odp_event("purchased", identifiers, "fullstack", data)

    assert client.flush(5)
    (event,) = list_events(emulator)
    assert (event["type"], event["action"]) == ("fullstack", "purchased")
    assert event["identifiers"] == identifiers
    assert event["data"]["item"] == "shirt"
    assert event["data"]["price"] == 50.0
    assert event["data"]["data_source_type"] == "sdk"
    assert event["data"]["data_source"] == "odp-logging"


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_type_is_fullstack(client, emulator, empty):
    """type None or "" is fullstack, as in every SDK."""
    client.send_odp_event("purchased", WHO, empty)

    assert client.flush(5)
    assert list_events(emulator)[0]["type"] == "fullstack"


@pytest.mark.parametrize(
    ("arguments", "reason", "message"),
    [
        (("", WHO), "no_action", "the action is empty"),
        ((None, WHO), "no_action", "the action is empty"),
        (("a", {}), "no_identifiers", "no identifiers"),
        (("a", None), "no_identifiers", "no identifiers"),
        (("a", {"email": ""}), "no_identifiers", "no identifiers"),
        (("a", ["u1"]), "bad_identifiers", "odp_identifiers must be a dict"),
        (("a", WHO, "t", ["x"]), "bad_data", "odp_data must be a dict"),
        (("a", WHO, {"x": 1}), "bad_type", "odp_type must be text"),
        ((["a"], WHO), "bad_action", "odp_action must be text"),
    ],
)
def test_an_invalid_direct_call_is_counted_and_reported(
    client, emulator, caplog, arguments, reason, message
):
    """An event that ODP could not store is rejected with reason, file and line."""
    client.send_odp_event(*arguments)
    client.send_odp_event("good", WHO)
    client.close()

    assert client.stats.rejected == {reason: 1}
    assert client.stats.delivered == 1
    assert len(read_warnings(caplog)) == 1
    assert read_warnings(caplog)[0].startswith(f"{__file__}:")
    assert message in read_warnings(caplog)[0]


def test_send_sends_an_odp_event_unchanged(client, emulator):
    """An OdpEvent made by the caller is sent as it is."""
    event = OdpEvent("viewed", WHO, "product")
    client.send(event)

    assert client.flush(5)
    assert list_events(emulator) == [event.to_dict()]


def test_send_rejects_other_values(client, caplog):
    """They are counted and reported, and nothing is raised."""
    client.send({"action": "viewed"})

    assert client.stats.rejected == {"no_event": 1}
    assert "send takes an OdpEvent, not dict" in read_warnings(caplog)[0]


def test_identify_connects_two_identifiers(client, emulator):
    """identify sends fullstack/identified with two identifiers."""
    client.identify({"FS-USER-ID": "u1", "email": "a@example.com"})

    assert client.flush(5)
    (event,) = list_events(emulator)
    assert (event["type"], event["action"]) == ("fullstack", "identified")
    assert event["identifiers"] == {"fs_user_id": "u1", "email": "a@example.com"}


@pytest.mark.parametrize(
    "identifiers",
    [{}, None, WHO, {"a": "1", "b": ""}, {"fs_user_id": "u", "FS-USER-ID": "u"}, "x"],
)
def test_identify_with_fewer_sends_nothing(client, emulator, caplog, identifiers):
    """A single identifier has nothing to be connected to; the call is reported."""
    client.identify(identifiers)

    assert client.flush(5)
    assert list_events(emulator) == []
    assert client.stats.rejected == {"identify": 1}
    assert "identify needs two identifiers" in read_warnings(caplog)[0]
    assert read_warnings(caplog)[0].startswith(f"{__file__}:")


def test_identify_includes_bound_identifiers(client, emulator):
    """One bound identifier and one argument are two."""
    bind_identifiers(fs_user_id="u1")
    client.identify({"email": "a@example.com"})

    assert client.flush(5)
    assert len(list_events(emulator)) == 1


def test_redact_hides_values_everywhere(emulator):
    """Values of the named keys are replaced at every depth."""
    client = make_client(
        emulator, redact=["card"], default_data={"card": "1", "shop": {"card": "2"}}
    )
    client.send_odp_event("viewed", WHO, data={"items": [{"card": "3", "n": 1}]})
    client.send_odp_event("viewed", WHO, data={"card": "4"})

    assert client.close()
    first, second = (event["data"] for event in list_events(emulator))
    assert first["card"] == second["card"] == "[redacted]"
    assert first["shop"] == {"card": "[redacted]"}
    assert first["items"] == [{"card": "[redacted]", "n": 1}]


def test_stats_have_counts_errors_and_times(emulator):
    """stats has counts, requests, the last error and the last success."""
    emulator.fault(status=503, count=1)
    client = make_client(emulator)
    client.send_odp_event("viewed", WHO, data={"text": "x" * 2000})
    client.send_odp_event("viewed", None)

    assert client.close(10)
    stats = client.stats
    assert (stats.accepted, stats.delivered, stats.pending) == (2, 1, 0)
    assert stats.rejected == {"no_identifiers": 1}
    assert stats.retried >= 1
    assert stats.requests >= 2
    assert stats.batches == 1
    assert stats.adjusted == {"cut": 1}
    assert stats.last_error == f"{emulator.url} answered 503"
    assert stats.last_success is not None


def test_values_quoted_by_the_server_are_not_logged(emulator, caplog):
    """ODP's reason is shown without identifiers and data."""
    quoted = '{"detail":{"invalids":[{"event":0,"message":"bad email a@example.com"}]}}'
    emulator.fault(status=400, body=quoted, count=1)
    client = make_client(emulator)
    client.send_odp_event("viewed", {"email": "a@example.com"})

    assert client.close()
    assert "a@example.com" not in "".join(read_warnings(caplog))
    assert "bad email ***" in read_warnings(caplog)[0]


def test_one_warning_a_minute_for_each_kind(emulator, caplog):
    """A hundred bad events are one line, and all are counted."""
    client = make_client(emulator)
    for _ in range(100):
        client.send_odp_event("viewed", None)
    client.close()

    assert len(read_warnings(caplog)) == 1
    assert client.stats.rejected == {"no_identifiers": 100}


def test_redact_applies_to_odp_events(emulator):
    """It also applies to keys that are Enums of text."""

    class Key(str, enum.Enum):
        CARD = "card"

    client = make_client(emulator, redact=["card"])
    client.send(OdpEvent("viewed", WHO, data={"card": "4111"}))
    client.send_odp_event("viewed", WHO, data={Key.CARD: "4111"})

    assert client.close()
    assert [event["data"]["card"] for event in list_events(emulator)] == [
        "[redacted]"
    ] * 2


def test_an_invalid_timestamp_is_replaced_by_the_time_of_the_call(
    client, emulator, logger
):
    """It is counted."""
    logger.addHandler(OdpHandler(client=client))
    extra = {"odp_action": "a", "odp_identifiers": WHO, "odp_timestamp": "soon"}
    logger.info("x", extra=extra)

    assert client.flush(5)
    assert abs(list_events(emulator)[0]["data"]["ts"] - time.time()) < 60
    assert client.stats.adjusted == {"timestamp": 1}


def test_an_unreadable_time_is_reported_with_file_and_line(client, emulator, caplog):
    """The event has the time of its log call; the line shows no value."""
    with client:
        client._put(
            {
                "odp_action": "a",
                "odp_identifiers": {"email": "a@b.example"},
                "odp_timestamp": "soon",
            },
            time=5.5,
            origin=("/shop.py", 7),
        )
        assert client.flush(10)
    (event,) = list_events(emulator)

    assert event["data"]["ts"] == 5
    assert client.stats.adjusted == {"timestamp": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "/shop.py:7: odp_timestamp cannot be read (str). Pass epoch seconds, a datetime"
        " or ISO-8601 text; the event is sent with the time of its log call"
    ]


def test_an_identifier_that_is_left_out_is_reported(client, emulator, caplog):
    """An event with another identifier is sent; the line says what was wrong."""
    with client, bound_identifiers(vuid="v"):
        client.send_odp_event("a", {"email": "J\udcfcrgen", "fs_user_id": "u1"})
        assert client.flush(10)
    (event,) = list_events(emulator)

    assert event["identifiers"] == {"fs_user_id": "u1", "vuid": "v"}
    assert client.stats.adjusted == {"identifier": 1}
    (message,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r".*test_client\.py:\d+: an identifier was left out: a value with undecodable"
        r" bytes \(lone surrogates\); the event is sent with the others",
        message,
    )


PLACEHOLDERS = ["None", "null", "undefined", "NaN", "[object Object]", " Anonymous "]


@pytest.mark.parametrize("text", PLACEHOLDERS)
@pytest.mark.parametrize("way", ["log call", "OdpEvent", "bound", "hashed"])
def test_a_placeholder_is_reported(emulator, caplog, text, way):
    """A text that stands for a missing value is sent, and a line says so."""
    with build_placeholder_client(emulator, way) as client:
        send_placeholder(client, way, text)
        assert client.flush(10)

    assert emulator.events()[0]["event"]["identifiers"]["email"] == text
    assert client.stats.adjusted == {}
    (message,) = [record.getMessage() for record in caplog.records]
    assert f'an identifier is the text "{text.strip()}"' in message
    assert "set reject_placeholders" in message


@pytest.mark.parametrize("text", PLACEHOLDERS)
@pytest.mark.parametrize("way", ["log call", "OdpEvent", "bound", "hashed"])
def test_a_placeholder_can_be_rejected(emulator, caplog, text, way):
    """With reject_placeholders it is left out; alone, it has the event rejected."""
    with build_placeholder_client(emulator, way, reject_placeholders=True) as client:
        send_placeholder(client, way, text)
        assert client.flush(10)

    assert emulator.events() == []
    assert client.stats.rejected == {"no_identifiers": 1}
    assert f'the placeholder "{text.strip()}" was left out' in caplog.text


def test_a_rejected_placeholder_leaves_the_other_identifiers(emulator):
    """The event is sent with the other identifier."""
    with build_placeholder_client(emulator, "", reject_placeholders=True) as client:
        who = {"email": "null", "vuid": "v"}
        event = OdpEvent("a", who, data={"n": 1}, timestamp=5)
        client.send(event)
        client.identify(who)
        assert client.flush(10)
    (received,) = list_events(emulator)

    expected = event.to_dict()
    del expected["identifiers"]["email"]
    assert received == expected
    assert client.stats.adjusted == {"identifier": 1}
    assert client.stats.rejected == {"identify": 1}


def build_placeholder_client(emulator, way, **settings):
    """Return a client; one that hashes something else if that is the *way*."""
    if way == "hashed":
        settings["hash_identifiers"] = ["email"]
    return OdpClient(KEY, api_host=emulator.url, handle_sigterm=False, **settings)


def send_placeholder(client, way, text):
    """Send an event whose only identifier is *text*."""
    if way == "OdpEvent":
        client.send(OdpEvent("a", {"email": text}))
    elif way == "bound":
        with bound_identifiers(email=text):
            client.send_odp_event("a", {})
    else:
        client.send_odp_event("a", {"email": text})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_client_is_the_client(emulator, duplicate):
    """Copying settings that contain a client keeps its key and its thread."""
    with make_client(emulator) as client:
        settings = duplicate({"client": client})
        settings["client"].send_odp_event("a", WHO)
        assert client.flush(10)

        assert settings["client"] is client
    assert len(emulator.events()) == 1


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_handler_shares_the_client(emulator, duplicate):
    """A handler, processor or event that is copied works as before."""
    handler = OdpHandler(KEY, api_host=emulator.url, handle_sigterm=False, level=20)
    other = duplicate(handler)
    processor = duplicate(OdpProcessor(handler.client))
    event = OdpEvent("a", WHO)
    other.handle(logging.makeLogRecord({"odp_action": "b", **LOGGED}))
    processor(None, "info", {"odp_action": "c", **LOGGED})
    handler.client.send(duplicate(event))
    assert handler.client.flush(10)
    other.close()
    handler.close()

    assert (other.level, other.client) == (20, handler.client)
    assert sorted(event["action"] for event in list_events(emulator)) == ["a", "b", "c"]
    assert duplicate(event) == event


def test_each_faulty_log_call_is_named(emulator, caplog):
    """Two places with the same mistake have a line each; a repetition has none."""
    client = make_client(emulator)
    for _ in range(2):
        client.send_odp_event("first", {})
        client.send_odp_event("second", {})
        client.send("third")  # type: ignore[arg-type]
        client.send("fourth")  # type: ignore[arg-type]
        client.send_odp_event("fifth", {"email": "null"})
        client.send_odp_event("sixth", {"email": "null"})
    assert client.close(10)

    lines = read_warnings(caplog)
    places = {line.partition(": ")[0] for line in lines}
    assert len(lines) == len(places) == 6
    assert all(place.startswith(f"{__file__}:") for place in places)
