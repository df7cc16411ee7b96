"""Masking of identifiers in events and of quoted values in ODP's reasons."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odp_logging import OdpEvent
from odp_logging._events.masking import (
    MASK,
    TextMasker,
    mask_event,
    mask_reason,
    mask_type_and_action,
)

EMAIL = "Zoe.O'Neil+x@Example.com"


def show_event(identifiers: dict[str, str], **parts: Any) -> str:
    """Return everything that reports show of an event, as JSON."""
    fields = {"action": "bought", "type": "order", "data": {}, **parts}
    event = OdpEvent(fields["action"], identifiers, fields["type"], data=fields["data"])
    return json.dumps(
        [mask_event(event), mask_type_and_action(event)], ensure_ascii=False
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"data": {"note": f"for {EMAIL}, today"}},
        {"data": {f"for {EMAIL}": 1}},
        {"data": {"deep": [{"list": [[EMAIL]]}]}},
        {"action": f"viewed {EMAIL}"},
        {"type": EMAIL},
        {"data": {"note": EMAIL.upper()}},
        {"data": {"url": f"https://h/?e={quote(EMAIL, safe='')}&x=1"}},
        {"data": {"url": f"https://h/?e={quote(EMAIL, safe='').lower()}"}},
        {"data": {"url": "https://h/?u=" + quote(f"/?e={quote(EMAIL)}", safe="")}},
        {"data": {"json": json.dumps({"e": EMAIL}).replace("@", "\\u0040")}},
        {"data": {f"e={quote(EMAIL, safe='')}": 1}},
    ],
)
def test_identifiers_are_masked_in_every_part_of_an_event(
    parts: dict[str, Any],
) -> None:
    """Identifiers are masked in values, keys, action and type of an event."""
    text = show_event({"email": EMAIL}, **parts)

    assert "neil" not in text.casefold() and "example" not in text.casefold()
    assert MASK in text


@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        ("Ann Lee", "https://h/?n=Ann+Lee"),
        ("+4917012345", "call +4917012345"),
        ("Straße 5", "STRASSE 5"),
        ("Jose\u0301 Diaz", "José Diaz"),
        ("Zoë Ü", quote("Zoë Ü")),
        ("王芳", "给王芳的礼物"),
        ("u1", "u1, and u1"),
        ("u1", "of:u1"),
    ],
)
def test_identifiers_are_masked_in_other_spellings(identifier: str, value: str) -> None:
    """Identifiers are found despite case, composed characters and encodings."""
    text = TextMasker([identifier]).mask(value)

    assert MASK in text
    assert TextMasker([identifier]).mask(text) == text


def test_other_texts_are_not_changed() -> None:
    """Short identifiers mask no part of a word, and numbers only equal numbers."""
    data = {"item": "u12 and menu1", "n": 12345, "s": 5.5, "url": "a%20b+c", "t": True}
    event = OdpEvent("viewed", {"id": "u1", "other": "123"}, data=data)

    body = mask_event(event)

    assert {name: body["data"][name] for name in data} == data
    assert (body["type"], body["action"]) == ("fullstack", "viewed")
    assert body["identifiers"] == {"id": MASK, "other": MASK}


@pytest.mark.parametrize("value", [12345, 12345.0, "12345"])
def test_numbers_equal_to_an_identifier_are_masked(value: object) -> None:
    """An identifier that occurs as a number in the data is masked."""
    event = OdpEvent("viewed", {"id": "12345"}, data={"n": value, "m": [value]})

    body = mask_event(event)

    assert (body["data"]["n"], body["data"]["m"]) == (MASK, [MASK])


def test_masked_keys_stay_distinct() -> None:
    """Two keys that are identifiers remain two keys after masking."""
    identifiers = {"email": "a@example.com", "id": "abcdef"}
    event = OdpEvent("viewed", identifiers, data={"a@example.com": 1, "abcdef": 2})

    values = mask_event(event)["data"]

    assert (values["***"], values["****"]) == (1, 2)


letters = st.text(alphabet="abAB%@é ", min_size=1, max_size=8)


@given(texts=st.lists(letters, min_size=1, max_size=5), around=st.lists(letters))
def test_no_part_of_overlapping_texts_is_left(
    texts: list[str], around: list[str]
) -> None:
    """No text of at least four characters is left, however the texts overlap."""
    mixed = "".join(part for pair in zip(around, texts * 5) for part in pair)

    left = TextMasker(texts).mask(mixed).replace(MASK, "\n").casefold()

    for text in texts:
        assert len(text) < 4 or text.casefold() not in left


def test_masking_many_identifiers_takes_linear_time() -> None:
    """Ten times the texts and the identifiers take about ten times as long.

    10,000 texts and 200 identifiers took 92 s.
    """

    def measure_seconds(size: int) -> float:
        identifiers = {
            f"id{n}": f"customer-{n:06d}@example.com" for n in range(size // 50)
        }
        data = {f"key{n}": f"text {n} of customer-{n:06d}" for n in range(size)}
        event = OdpEvent("viewed", identifiers, data=data)
        best = 60.0
        for _ in range(3):
            start = time.perf_counter()
            mask_event(event)
            mask_reason("no such customer-000001@example.com, or 'text 5'", event)
            best = min(best, time.perf_counter() - start)
        return best

    few, many = measure_seconds(900), measure_seconds(9_000)
    print(f"900 texts {few:.3f} s, 9,000 texts {many:.3f} s")
    assert many < 40 * few + 0.1


@pytest.mark.parametrize("count", [1, 400])
def test_masking_nested_identifiers_takes_linear_time(count: int) -> None:
    """Texts that are prefixes of each other cost no more than others."""
    texts = ["a" * n for n in range(4, 4 + count)]

    assert TextMasker(texts).mask("a" * 100_000 + "b") == f"{MASK}b"


def test_too_many_identifiers_mask_everything() -> None:
    """With too many identifiers to search for, no text is shown at all."""
    identifiers = {f"id{n}": f"{n:05d}" * 200 for n in range(120)}
    event = OdpEvent("viewed", identifiers, data={"note": "anything", "n": 5})

    body = mask_event(event)

    assert body["action"] == MASK
    assert set(map(str, _iterate_leaves(body["data"]))) == {MASK}


def _iterate_leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _iterate_leaves(item)]
    return [value]


@pytest.mark.parametrize(
    "reason",
    [
        f"bad value {quote(EMAIL, safe='')}",
        "bad value " + json.dumps(EMAIL).replace("@", "\\u0040"),
        f"bad value {EMAIL.upper()}",
        "bad value zoe.o'neil",
        "see /?x=" + quote(quote(EMAIL)),
    ],
)
def test_values_quoted_in_a_reason_are_masked(reason: str) -> None:
    """Values that a reason quotes are masked, even if encoded or cut."""
    event = OdpEvent("bought", {"email": EMAIL}, data={"a": 1})

    masked = mask_reason(reason, event)

    assert "neil" not in masked.casefold() and "example" not in masked.casefold()
    assert masked.startswith(("bad value", "see /?x="))
