"""What an answer means: pure reading, no network."""

from __future__ import annotations

import json
import math
from email.utils import formatdate
from typing import Any

import pytest

from odp_logging._delivery import Cause, Delivery
from odp_logging.transports._http import parse_retry_after, read_answer

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example


def read(
    status: int, content: bytes | None = b"", size: int = 3, **headers: str
) -> Delivery:
    """Read an answer for a batch of *size*."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(status, named, content, size, "https://odp.test")


def naming(*invalids: Any) -> bytes:
    """Return the body of a 400 that names *invalids*."""
    return json.dumps({"detail": {"invalids": list(invalids)}}).encode()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("content", [b"{}", b"", b"not JSON", b"\xff\x00", None])
def test_every_2xx_accepts_all(status: int, content: bytes | None) -> None:
    """A 2xx accepts every event, whatever its body says or fails to say."""
    assert read(status, content).accepted == (0, 1, 2)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><title>Log in</title>", ""),
        (b"\xef\xbb\xbf\r\n <HTML>", "application/json"),
        (b"Welcome to our Wi-Fi", "text/html; charset=utf-8"),
        (b"<?xml version='1.0'?>", "application/xhtml+xml"),
        (None, "text/html"),
    ],
)
def test_a_page_accepts_nothing(content: bytes | None, kind: str) -> None:
    """An HTML page with a 200 is a captive portal's: everything stays pending."""
    answer = read(200, content, Content_Type=kind)

    assert answer.pending == (0, 1, 2)
    assert answer.cause is Cause.PASSING
    assert not answer.in_doubt
    assert "HTML page" in answer.message


def test_an_empty_answer_is_no_page() -> None:
    """A 202 without a body is accepted, even if a gateway calls it text/html."""
    assert read(202, b"", Content_Type="text/html").accepted == (0, 1, 2)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        *((s, Cause.PASSING) for s in (408, 409, 421, 423, 425, 429, 599)),
        *((s, Cause.PASSING) for s in (500, 501, 502, 503, 504, 507, 520)),
        *((s, Cause.CONFIGURATION) for s in (300, 301, 302, 303, 304, 307, 308)),
        *((s, Cause.CONFIGURATION) for s in (401, 402, 403, 404, 405, 406, 407)),
        *((s, Cause.CONFIGURATION) for s in (410, 411, 414, 415, 417, 431, 451)),
        (413, Cause.TOO_LARGE),
        (400, Cause.UNNAMED),
        (422, Cause.UNNAMED),
    ],
)
def test_every_other_status_has_a_cause(status: int, cause: Cause) -> None:
    """A status that accepts nothing leaves all pending, for a cause, never in doubt."""
    answer = read(status)

    assert answer.pending == (0, 1, 2)
    assert answer.cause is cause
    assert not answer.in_doubt
    refused = " and refuses the key" if status in (401, 403) else ""
    assert answer.message == f"https://odp.test answered {status}{refused}"


def test_named_events_are_rejected_with_their_reason() -> None:
    """A 400 that names indexes rejects those; the rest were only in their company."""
    answer = read(400, naming({"event": 1, "message": "missing 'type' field"}))

    assert answer.rejected == {1: "missing 'type' field"}
    assert answer.pending == (0, 2)
    assert answer.cause is Cause.REST


def test_all_events_may_be_named() -> None:
    """A 400 that names every event leaves nothing pending, and no cause."""
    answer = read(400, naming({"event": 0}, {"event": 2}, {"event": 1}))

    assert answer.rejected == dict.fromkeys(range(3), "no reason given")
    assert answer.pending == ()
    assert answer.cause is None


def test_a_name_given_twice_counts_once() -> None:
    """An index named twice is one rejected event."""
    answer = read(400, naming({"event": 0, "message": "a"}, {"event": 0}))

    assert list(answer.rejected) == [0]
    assert answer.pending == (1, 2)


@pytest.mark.parametrize(
    "index", [-1, 3, 10**30, 1.0, "1", True, False, None, [1], {"event": 1}]
)
def test_what_is_no_index_names_nothing(index: Any) -> None:
    """An index out of range, or that is none, rejects no event by mistake."""
    alone = read(400, naming({"event": index, "message": "bad"}))
    beside = read(400, naming({"event": index}, {"event": 2, "message": "bad"}))

    assert (alone.rejected, alone.cause) == ({}, Cause.UNNAMED)
    assert beside.rejected == {2: "bad"}


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
def test_a_400_that_cannot_be_read_names_nothing(content: bytes | None) -> None:
    """A 400 whose body makes no sense refuses the batch without naming an event."""
    answer = read(400, content)

    assert not answer.rejected
    assert answer.cause is Cause.UNNAMED


def test_a_422_names_nothing() -> None:
    """A 422 is not ODP's: what it calls invalids is not believed."""
    assert read(422, naming({"event": 0})).cause is Cause.UNNAMED


@pytest.mark.parametrize("message", [7, None, "", "\n", ["x"]])
def test_a_reason_that_is_no_text_is_none(message: Any) -> None:
    """A message that is no text leaves the rejection without a reason given."""
    answer = read(400, naming({"event": 0, "message": message}))

    assert answer.rejected == {0: "no reason given"}


def test_a_reason_is_one_short_printable_line() -> None:
    """What a server says goes into a log line: short, on one line, no control codes."""
    answer = read(
        400, naming({"event": 0, "message": "a\r\nb \x1b[31mred\u202e" + "x" * 999})
    )

    assert answer.rejected[0].startswith("a b ?[31mred?xxx")
    assert len(answer.rejected[0]) == 200


def test_what_a_400_says_is_passed_on() -> None:
    """The message of a 400 that names nothing is told beside the status."""
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
def test_retry_after_is_read(value: str, seconds: float) -> None:
    """Retry-After may be seconds, or a date in any of HTTP's three forms."""
    assert math.isclose(parse_retry_after(value, NOW), seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", " ", "-1", "-inf", "inf", "nan", "soon", "2 minutes", "0x10"),
        *("9" * 400, "GMT", "Sun, 99 Nov 1994 08:49:37 GMT", ",,,"),
        *("Sun, 06 Nov 99999 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT"),
    ],
)
def test_a_retry_after_without_sense_asks_for_nothing(value: str | None) -> None:
    """Nonsense, what is not finite, and what is over ask for no wait at all."""
    assert parse_retry_after(value, NOW) == 0.0


def test_a_date_is_read_by_the_clock() -> None:
    """Without a moment given, a date is compared with the present."""
    assert parse_retry_after(formatdate(usegmt=True)) == 0.0
    assert parse_retry_after(formatdate(4e9, usegmt=True)) > 80


@pytest.mark.parametrize("status", [429, 503, 500, 403, 301])
def test_retry_after_counts_wherever_one_waits(status: int) -> None:
    """Retry-After is passed on with every status that means to wait."""
    assert read(status, Retry_After="7").retry_after == 7.0
