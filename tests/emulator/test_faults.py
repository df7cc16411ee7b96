"""What goes wrong is what was asked for: no more, no less, and as often."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from odp_logging.emulator import Emulator
from odp_logging.emulator._faults import Fault, Faults

from .conftest import (
    KEY,
    an_event,
    ask_fault,
    call,
    dial,
    request_bytes,
    send,
    some_events,
)


def _statuses(odp: Emulator, times: int) -> list[int]:
    return [send(odp, [an_event()]).status for _ in range(times)]


# Asking for faults.


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 99}, "'status' cannot be 99: give a whole number from 200 to 599"),
        ({"status": 600}, "'status'"),
        ({"status": "503"}, "'status' cannot be '503'"),
        ({"status": True}, "'status' cannot be True"),
        ({"status": 503.0}, "'status'"),
        ({"status": 503, "rate": 2}, "'rate' cannot be 2: give a number from 0 to 1"),
        ({"status": 503, "rate": -0.1}, "'rate'"),
        ({"status": 503, "rate": "half"}, "'rate'"),
        (
            {"status": 503, "count": 0},
            "'count' cannot be 0: give a whole number from 1",
        ),
        ({"status": 503, "count": 1.5}, "'count'"),
        ({"latency": -1}, "'latency' cannot be -1: give seconds, such as 0.5"),
        ({"latency": 1e9}, "'latency'"),
        ({"retry_after": -1, "status": 503}, "'retry_after' cannot be -1"),
        ({"retry_after": "a\r\nb"}, "'retry_after'"),
        ({"retry_after": ""}, "'retry_after'"),
        ({"drop": "now"}, """'drop' cannot be 'now': give "before" or "after\""""),
        ({"drop": ["before"]}, "'drop'"),
        ({"status": 503, "keep": 1}, "'keep' cannot be 1: give true or false"),
        ({"events": []}, "'events' cannot be []: give a list of indexes"),
        ({"events": [-1]}, "'events'"),
        ({"events": 3}, "'events'"),
        ({"events": ["0"]}, "'events'"),
        ({"match": ""}, "'match' cannot be '': give a text"),
        ({"match": 7}, "'match'"),
        ({"match": "a", "opaque": "yes"}, "'opaque' cannot be 'yes'"),
        ({"status": 400, "opaque": True}, "'opaque' needs 'match' or 'events'"),
        ({"max_events": -1}, "'max_events' cannot be -1"),
        ({"max_bytes": 1.5}, "'max_bytes' cannot be 1.5"),
        ({"body": 7}, "'body' cannot be 7: give a text"),
        ({"content_type": "a\nb"}, "'content_type'"),
        ({"location": "http://é"}, "'location'"),
        ({"status": 503, "seconds": -1}, "'seconds' cannot be -1"),
        ({"stauts": 503}, "unknown fault field 'stauts': did you mean 'status'?"),
        ({"zzz": 1}, "unknown fault field 'zzz'"),
        ({}, "must have one of the fields body, content_type"),
        ({"rate": 0.5, "count": 2}, "must have one of the fields"),
        ({"status": None}, "must have one of the fields"),
        ("down", 'must be an object, such as {"status": 503}'),
        (7, "must be an object"),
    ],
)
def test_a_bad_fault_is_named(odp: Emulator, fault: Any, said: str) -> None:
    """A fault that cannot be is answered 400 with its field and a good value."""
    reply = ask_fault(odp, fault)

    assert reply.status == 400
    assert said in reply.message
    assert call(odp, "GET", "/_emulator/faults").json == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["rate", "latency", "retry_after", "seconds"])
def test_a_fault_has_finite_numbers(odp: Emulator, name: str, value: float) -> None:
    """What JSON cannot say is refused from Python as well."""
    with pytest.raises(ValueError, match=f"'{name}'"):
        odp.fault(**{"status": 503, name: value})


def test_one_bad_fault_sets_none_of_a_list(odp: Emulator) -> None:
    """A list of faults is set as a whole or not at all."""
    assert ask_fault(odp, [{"status": 503}, {"status": 1}]).status == 400
    assert call(odp, "GET", "/_emulator/faults").json == []


def test_a_fault_must_be_json(odp: Emulator) -> None:
    """A body that is no JSON, and one that is not called so, are refused."""
    path, kind = "/_emulator/faults", {"content-type": "application/json"}

    assert call(odp, "POST", path, b"{", kind).status == 400
    assert "one fault or a list" in call(odp, "POST", path, b"\xff", kind).message
    assert call(odp, "POST", path, b'{"status": 503}').status == 415


def test_faults_can_be_listed_and_unset(odp: Emulator) -> None:
    """Set faults are shown with how often they fired, until they are unset."""
    reply = ask_fault(odp, [{"status": 503, "count": 2}, {"latency": 0, "body": "x"}])
    assert reply.status == 200
    assert reply.json == [
        {"status": 503, "count": 2, "id": 1, "fired": 0},
        {"body": "x", "id": 2, "fired": 0},
    ]

    send(odp, [an_event()])
    assert call(odp, "GET", "/_emulator/faults").json[0]["fired"] == 1
    assert odp.stats()["faults_active"] == 2
    assert odp.stats()["faults_fired"] == 1

    assert call(odp, "DELETE", "/_emulator/faults").status == 204
    assert call(odp, "GET", "/_emulator/faults").json == []
    assert _statuses(odp, 1) == [202]


def test_a_fault_with_seconds_says_how_many_are_left(odp: Emulator) -> None:
    """The list has them for a countdown; other faults have no such field."""
    lasting, limited = ask_fault(
        odp, [{"status": 503, "seconds": 60}, {"status": 429, "count": 2}]
    ).json

    assert 0 < lasting["seconds_left"] <= 60
    assert "seconds_left" not in limited


def test_the_python_name_of_count_is_the_name_over_http(odp: Emulator) -> None:
    """The old name of the Python helper leads to the one that both have."""
    reply = ask_fault(odp, {"status": 503, "times": 3})

    assert reply.message == "unknown fault field 'times': did you mean 'count'?"


def test_one_fault_can_be_unset(odp: Emulator) -> None:
    """A fault is unset by its id, the others stay, and no id comes twice."""
    path = "/_emulator/faults"
    ask_fault(odp, [{"status": 503}, {"status": 429}])

    assert call(odp, "DELETE", f"{path}?id=1").status == 204
    assert call(odp, "DELETE", f"{path}?id=1").status == 404
    assert call(odp, "DELETE", f"{path}?id=x").status == 400
    assert call(odp, "DELETE", f"{path}?id=").status == 400
    assert ask_fault(odp, {"status": 500}).json == [
        {"status": 429, "id": 2, "fired": 0},
        {"status": 500, "id": 3, "fired": 0},
    ]


def test_the_object_sets_and_unsets_them_too(odp: Emulator) -> None:
    """fault and clear_faults do what the requests do."""
    odp.fault(status=503)
    assert _statuses(odp, 1) == [503]

    odp.clear_faults()

    assert _statuses(odp, 1) == [202]


def test_faults_are_about_the_events_api_alone(odp: Emulator) -> None:
    """The emulator's own paths answer whatever is set."""
    odp.fault(drop="before")

    assert call(odp, "GET", "/stats").status == 200
    assert call(odp, "GET", "/healthz").status == 200


# How often.


def test_a_fault_fires_as_often_as_counted(odp: Emulator) -> None:
    """After count times a fault is spent."""
    odp.fault(status=503, count=2)

    assert _statuses(odp, 4) == [503, 503, 202, 202]
    assert odp.stats()["faults_active"] == 0
    assert odp.stats()["faults_fired"] == 2


def test_faults_are_tried_in_order(odp: Emulator) -> None:
    """The first that fires is the only one, until it is spent."""
    odp.fault(status=503, count=1)
    odp.fault(status=429, count=2)
    odp.fault(status=500, rate=0)

    assert _statuses(odp, 4) == [503, 429, 429, 202]


def test_a_rate_is_repeatable_with_a_seed() -> None:
    """Two emulators with one seed fail at the same requests."""

    def run(seed: int) -> list[int]:
        with Emulator(key=KEY, seed=seed) as odp:
            odp.fault(status=503, rate=0.5)
            return _statuses(odp, 20)

    first = run(7)

    assert first == run(7)
    assert set(first) == {202, 503}
    assert first != run(8)


def test_a_rate_is_about_right() -> None:
    """A rate of 0.3 is three of ten; 0 is never and 1 always."""

    def fired(rate: float) -> int:
        faults = Faults(random.Random(1))
        faults.add(Fault(status=503, rate=rate))
        return sum(faults.find_hit([], 0) is not None for _ in range(2_000))

    assert 500 < fired(0.3) < 700
    assert fired(0) == 0
    assert fired(1) == 2_000


def test_a_fault_ends_after_its_seconds() -> None:
    """A fault with seconds is over once they have passed."""
    now = [100.0]
    faults = Faults(clock=lambda: now[0])
    faults.add(Fault(status=503, seconds=5))

    assert faults.find_hit([], 0) is not None
    now[0] = 104.9
    assert faults.count() == (1, 1)
    now[0] = 105.0
    assert faults.find_hit([], 0) is None
    assert faults.list_active() == []
    assert faults.count() == (0, 1)


# What happens.


@pytest.mark.parametrize("status", [400, 401, 408, 429, 500, 502, 503, 504, 599])
def test_a_status_is_answered_and_nothing_kept(odp: Emulator, status: int) -> None:
    """An error status keeps no event, as by a server that failed before its work."""
    odp.fault(status=status)

    reply = send(odp, [an_event()])

    assert reply.status == reply.json["status"] == status
    assert odp.events() == []
    assert odp.stats()["statuses"] == {str(status): 1}


def test_an_error_may_come_after_the_work(odp: Emulator) -> None:
    """With keep the events are accepted although the answer is an error."""
    odp.fault(status=503, keep=True)

    assert send(odp, [an_event()]).status == 503
    assert odp.stats()["unique"] == 1


def test_a_yes_may_come_without_the_work(odp: Emulator) -> None:
    """With keep false a 200 is a lie: a captive portal or a proxy in between."""
    odp.fault(status=200, keep=False, body="<html>", content_type="text/html")

    reply = send(odp, [an_event()])

    assert (reply.status, reply.body) == (200, b"<html>")
    assert odp.events() == []


def test_a_yes_does_not_make_an_invalid_event_valid(odp: Emulator) -> None:
    """A success by fault keeps what ODP takes, and refuses what ODP refuses."""
    odp.fault(status=200)

    assert send(odp, [an_event()]).status == 200
    assert send(odp, [{}]).status == 400
    assert odp.stats()["unique"] == 1


def test_no_content_has_no_body(odp: Emulator) -> None:
    """A status that has no body leaves the connection usable."""
    odp.fault(status=204, count=1)

    with dial(odp) as connection:
        connection.sendall(request_bytes([an_event()]))
        answer = connection.recv(65_536)
        connection.sendall(request_bytes([an_event(1)]))
        second = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in answer
    assert second.startswith(b"HTTP/1.1 202 ")


def test_a_drop_before_keeps_nothing(odp: Emulator) -> None:
    """drop before resets the connection and forgets the events."""
    odp.fault(drop="before")

    _expect_reset(odp)

    assert odp.stats()["received"] == 0
    assert odp.stats()["dropped_connections"] == 1
    assert odp.requests()[0]["status"] == 0


def test_a_drop_after_keeps_the_events(odp: Emulator) -> None:
    """drop after accepts the events and resets the connection instead of an answer."""
    odp.fault(drop="after")

    _expect_reset(odp)

    assert odp.stats()["unique"] == 1
    assert odp.stats()["dropped_connections"] == 1


def test_latency_is_waited_after_the_work(odp: Emulator) -> None:
    """A slow answer comes late, but its events are there already."""
    odp.fault(latency=0.2)
    began = time.monotonic()
    with dial(odp) as connection:
        connection.sendall(request_bytes([an_event()]))
        assert odp.wait_for(1, 0.15)
        answer = connection.recv(65_536)

    assert time.monotonic() - began >= 0.2
    assert answer.startswith(b"HTTP/1.1 202 ")


def test_latency_goes_with_a_status(odp: Emulator) -> None:
    """A fault may be slow and fail."""
    odp.fault(latency=0.1, status=503)
    began = time.monotonic()

    assert _statuses(odp, 1) == [503]
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2, "2"),
        (0.5, "0.5"),
        ("7", "7"),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("soon, perhaps", "soon, perhaps"),
        ("-1", "-1"),
    ],
)
def test_retry_after_is_sent_as_given(odp: Emulator, value: Any, text: str) -> None:
    """Retry-After may be seconds, a date or nonsense, and is sent to the letter."""
    assert ask_fault(odp, {"status": 429, "retry_after": value}).status == 200

    assert send(odp, [an_event()]).headers["Retry-After"] == text


def test_a_match_refuses_what_contains_it(odp: Emulator) -> None:
    """Events that contain the text are named invalid and nothing is kept."""
    odp.fault(match="user-1")

    reply = send(odp, some_events(0, 3))

    assert reply.status == 400
    assert reply.json["detail"] == {
        "invalids": [{"event": 1, "message": "refused by fault"}]
    }
    assert odp.stats()["received"] == 0
    assert odp.stats()["rejected"] == 1
    assert send(odp, [an_event(0), an_event(2)]).status == 202


def test_a_match_reads_text_as_people_do(odp: Emulator) -> None:
    """The text is looked for in the values, not in their escapes."""
    odp.fault(match="Zoë")

    assert send(odp, [an_event(action="Zoë")]).status == 400


def test_an_opaque_refusal_names_nothing(odp: Emulator) -> None:
    """With opaque the request is refused for one event, without saying for which."""
    odp.fault(match="user-1", opaque=True)

    reply = send(odp, some_events(0, 3))

    assert reply.status == 400
    assert "detail" not in reply.json
    assert odp.stats()["rejected"] == 0
    assert send(odp, [an_event(0)]).status == 202


def test_a_refusal_may_keep_the_others(odp: Emulator) -> None:
    """With keep the events that are not named are accepted."""
    odp.fault(match="user-1", keep=True)

    assert send(odp, some_events(0, 3)).status == 400
    assert odp.stats()["unique"] == 2
    assert odp.stats()["rejected"] == 1


def test_events_are_refused_by_index(odp: Emulator) -> None:
    """Indexes that a request does not have are left out, and alone do nothing."""
    odp.fault(events=[0, 2, 9])

    reply = send(odp, some_events(0, 3))

    assert [one["event"] for one in reply.json["detail"]["invalids"]] == [0, 2]
    odp.clear_faults()
    odp.fault(events=[5], count=1)
    assert send(odp, some_events(0, 3)).status == 202
    assert odp.stats()["faults_active"] == 1


def test_a_match_with_a_status_fails_for_it(odp: Emulator) -> None:
    """A poisonous event may bring the server down instead of a refusal."""
    odp.fault(match="user-1", status=500)

    reply = send(odp, some_events(0, 3))

    assert reply.status == 500
    assert "detail" not in reply.json
    assert send(odp, [an_event(0)]).status == 202


def test_too_many_events_are_refused(odp: Emulator) -> None:
    """max_events answers 413 to more, and nothing to as many."""
    odp.fault(max_events=2)

    assert send(odp, some_events(0, 3)).status == 413
    assert send(odp, some_events(0, 2)).status == 202
    assert odp.stats()["unique"] == 2


def test_too_many_bytes_are_refused(odp: Emulator) -> None:
    """max_bytes is about the body; the status may be another."""
    odp.fault(max_bytes=200, status=400)

    assert send(odp, some_events(0, 3)).status == 400
    assert send(odp, [an_event()]).status == 202


def test_an_answer_may_be_anything(odp: Emulator) -> None:
    """Body, content type and location are sent as given."""
    odp.fault(
        status=302,
        body="<h1>Zoë</h1>",
        content_type="text/html; charset=utf-8",
        location="http://127.0.0.1:1/elsewhere",
    )

    reply = send(odp, [an_event()])

    assert reply.status == 302
    assert reply.body == "<h1>Zoë</h1>".encode()
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert reply.headers["Location"] == "http://127.0.0.1:1/elsewhere"
    assert odp.events() == []


def test_a_body_alone_leaves_the_rest_to_odp(odp: Emulator) -> None:
    """A fault without a status changes the answer, not what is kept."""
    odp.fault(body="not JSON")

    reply = send(odp, [an_event()])

    assert (reply.status, reply.body) == (202, b"not JSON")
    assert odp.stats()["unique"] == 1


def _expect_reset(odp: Emulator) -> None:
    with dial(odp) as connection:
        connection.sendall(request_bytes([an_event()]))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
