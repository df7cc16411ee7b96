"""read_response: what an HTTP answer means for a batch. No network."""

from __future__ import annotations

import json
import math
from email.utils import formatdate
from typing import Any

import pytest

from odp_logging._events.delivery import Cause, Delivery
from odp_logging._runtime.secret import Secret
from odp_logging._transports.responses import parse_retry_after, read_response

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example


def read(
    status: int, content: bytes | None = b"", size: int = 3, **headers: str
) -> Delivery:
    """Read an answer for a batch of *size*."""
    header_values = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_response(status, header_values, content, size, "https://odp.test")


def build_invalids(*invalids: Any) -> bytes:
    """Return the body of a 400 with *invalids*."""
    return json.dumps({"detail": {"invalids": list(invalids)}}).encode()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("content", [b"{}", b"", b"not JSON", b"\xff\x00", None])
def test_every_2xx_accepts_all(status: int, content: bytes | None) -> None:
    """A 2xx accepts every event, whatever its body is."""
    assert read(status, content).accepted == (0, 1, 2)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<!DOCTYPE html><title>Log in</title>", ""),
        (b"\xef\xbb\xbf\r\n <HTML>", "application/json"),
        (b"Welcome to our Wi-Fi", "text/html; charset=utf-8"),
        (b"<?xml version='1.0'?>", "application/xhtml+xml"),
        (None, "text/html"),
    ],
)
def test_an_html_page_accepts_nothing(content: bytes | None, content_type: str) -> None:
    """A 200 with an HTML page comes from a captive portal: all stay pending."""
    answer = read(200, content, Content_Type=content_type)

    assert answer.pending == (0, 1, 2)
    assert answer.cause is Cause.TRANSIENT
    assert not answer.in_doubt
    assert "HTML page" in answer.message


def test_an_empty_answer_is_not_an_html_page() -> None:
    """A 202 without a body is accepted, even if a gateway calls it text/html."""
    assert read(202, b"", Content_Type="text/html").accepted == (0, 1, 2)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        *((s, Cause.TRANSIENT) for s in (408, 409, 421, 423, 425, 429, 599)),
        *((s, Cause.TRANSIENT) for s in (500, 501, 502, 503, 504, 507, 520)),
        *((s, Cause.MISCONFIGURED) for s in (300, 301, 302, 303, 304, 307, 308)),
        *((s, Cause.MISCONFIGURED) for s in (401, 402, 403, 404, 405, 406, 407)),
        *((s, Cause.MISCONFIGURED) for s in (410, 411, 414, 415, 417, 431, 451)),
        (413, Cause.TOO_LARGE),
        (400, Cause.UNIDENTIFIED),
        (422, Cause.UNIDENTIFIED),
    ],
)
def test_every_other_status_leaves_all_pending_with_a_cause(
    status: int, cause: Cause
) -> None:
    """Other statuses leave all events pending, with a cause and never in doubt."""
    answer = read(status)

    assert answer.pending == (0, 1, 2)
    assert answer.cause is cause
    assert not answer.in_doubt
    refused = " and refuses the key" if status in (401, 403) else ""
    assert answer.message == f"https://odp.test answered {status}{refused}"


@pytest.mark.parametrize(
    ("key", "shown"), [("sesame", ""), ("key-of-a-test-1234", " …1234")]
)
def test_a_refused_key_is_shown_by_its_end(key: str, shown: str) -> None:
    """The message ends with the last characters of a long key, and of no short one."""
    answer = read_response(403, {}, b"", 1, "https://odp.test", key=Secret(key))

    assert answer.message == f"https://odp.test answered 403 and refuses the key{shown}"


def test_named_events_are_rejected_with_their_reason() -> None:
    """A 400 that names indexes rejects those events; the others stay pending."""
    answer = read(400, build_invalids({"event": 1, "message": "missing 'type' field"}))

    assert answer.rejected == {1: "missing 'type' field"}
    assert answer.pending == (0, 2)
    assert answer.cause is Cause.REMAINDER


def test_a_400_may_name_all_events() -> None:
    """A 400 that names every event leaves nothing pending, without a cause."""
    answer = read(400, build_invalids({"event": 0}, {"event": 2}, {"event": 1}))

    assert answer.rejected == dict.fromkeys(range(3), "no reason given")
    assert answer.pending == ()
    assert answer.cause is None


def test_an_index_named_twice_counts_once() -> None:
    """An index named twice is one rejected event."""
    answer = read(400, build_invalids({"event": 0, "message": "a"}, {"event": 0}))

    assert list(answer.rejected) == [0]
    assert answer.pending == (1, 2)


@pytest.mark.parametrize(
    "index", [-1, 3, 10**30, 1.0, "1", True, False, None, [1], {"event": 1}]
)
def test_invalid_indexes_are_ignored(index: Any) -> None:
    """An index that is out of range or no integer rejects no event."""
    alone = read(400, build_invalids({"event": index, "message": "bad"}))
    with_valid = read(
        400, build_invalids({"event": index}, {"event": 2, "message": "bad"})
    )

    assert (alone.rejected, alone.cause) == ({}, Cause.UNIDENTIFIED)
    assert with_valid.rejected == {2: "bad"}


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"not JSON",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"1" * 10_000,
        b"null",
        b"[]",
        b'"detail"',
        b'{"detail": null}',
        b'{"detail": "bad"}',
        b'{"detail": []}',
        b'{"detail": {"invalids": {"event": 0}}}',
        b'{"detail": {"invalids": [0, null, "0", [0]]}}',
        b'{"detail": {"invalids": []}}',
        b'{"invalids": [{"event": 0}]}',
    ],
)
def test_a_400_that_cannot_be_parsed_names_nothing(content: bytes | None) -> None:
    """A 400 with an unusable body rejects the batch without naming an event."""
    answer = read(400, content)

    assert not answer.rejected
    assert answer.cause is Cause.UNIDENTIFIED


def test_a_422_names_nothing() -> None:
    """A 422 does not come from ODP, so its invalids are ignored."""
    assert read(422, build_invalids({"event": 0})).cause is Cause.UNIDENTIFIED


@pytest.mark.parametrize("message", [7, None, "", "\n", ["x"]])
def test_a_reason_that_is_no_text_is_ignored(message: Any) -> None:
    """A message that is no text gives no reason for the rejection."""
    answer = read(400, build_invalids({"event": 0, "message": message}))

    assert answer.rejected == {0: "no reason given"}


def test_a_reason_is_one_short_printable_line() -> None:
    """A server's text is shortened to one line without control characters."""
    answer = read(
        400,
        build_invalids({"event": 0, "message": "a\r\nb \x1b[31mred\u202e" + "x" * 999}),
    )

    assert answer.rejected[0].startswith("a b ?[31mred?xxx")
    assert len(answer.rejected[0]) == 200


def test_the_message_of_a_400_is_passed_on() -> None:
    """The message of a 400 that names no event follows the status."""
    answer = read(400, b'{"detail": {"message": "Unable to parse request body."}}')

    assert answer.message.endswith("answered 400: Unable to parse request body.")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("2", 2.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("1e9", 1e9),
        ("31536000", 31536000.0),
        ("9" * 30, 1e30),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        ("Sun Nov  6 08:49:47 1994", 10.0),
        ("Sun, 06 Nov 1994 09:49:47 +0100", 10.0),
        ("Mon, 06 Nov 1995 08:49:37 GMT", 365 * 86400.0),
    ],
)
def test_retry_after_is_parsed(value: str, seconds: float) -> None:
    """Retry-After may be seconds or a date in one of HTTP's three formats."""
    assert math.isclose(parse_retry_after(value, NOW), seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", " ", "-1", "-inf", "inf", "nan", "soon", "2 minutes", "0x10"),
        *("9" * 400, "GMT", "Sun, 99 Nov 1994 08:49:37 GMT", ",,,"),
        *("Sun, 06 Nov 99999 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT"),
    ],
)
def test_an_invalid_retry_after_is_ignored(value: str | None) -> None:
    """Invalid, infinite and past values ask for no wait."""
    assert parse_retry_after(value, NOW) == 0.0


def test_a_retry_after_date_is_compared_with_the_clock() -> None:
    """Without an explicit time, a date is compared with the current time."""
    assert parse_retry_after(formatdate(usegmt=True)) == 0.0
    assert parse_retry_after(formatdate(4e9, usegmt=True)) > 80


@pytest.mark.parametrize("status", [429, 503, 500, 403, 301])
def test_retry_after_is_passed_on_with_every_status(status: int) -> None:
    """Retry-After is passed on with every status after which one waits."""
    assert read(status, Retry_After="7").retry_after == 7.0


KEY = "W4WzcEs-ABgXorzY7h1LCQ"
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in KEY)


@pytest.mark.parametrize("quoted_key", [KEY, ESCAPED, KEY.replace("-", "\\u002D")])
@pytest.mark.parametrize("before", ["", "x " * 190, "x " * 198, "x" * 9_990])
def test_a_key_that_an_answer_quotes_is_masked(quoted_key: str, before: str) -> None:
    """No part of the key is shown, whatever its escapes and wherever it is cut."""
    text = f"{before}{quoted_key} unknown"
    with_index = '{"detail":{"invalids":[{"event":0,"message":"%s"}]}}' % text
    without_index = '{"detail":{"message":"%s"}}' % text

    for content in (with_index, without_index):
        delivery = read_response(
            400, {}, content.encode(), 1, "https://odp.test", key=Secret(KEY)
        )
        shown = delivery.rejected.get(0, delivery.message)
        assert not [end for end in range(4, len(KEY)) if KEY[:end] in shown]
        assert before or "*** unknown" in shown
