"""Mask personal data: identifiers in events, and values of events in ODP's reasons.

Reports, the doctor and the commands that print events pass them through here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_plus

from .._runtime.diagnostics import make_printable

if TYPE_CHECKING:
    from .event import OdpEvent

MASK = "***"

_MAX_SEARCH_CHARACTERS = 100_000
"""Characters of an event's identifiers to search for. With more, no text of the event
is shown at all: each character takes a node of about 200 bytes."""

_MIN_LENGTH_WITHIN_WORDS = 4
"""Shorter texts are masked as whole words only: "an" occurs in most sentences."""

_MAX_NAME_LENGTH = 60

_MAX_REASON_LENGTH = 200
"""Characters of a server's reason that a transport returns."""

_WORD = r"\w{3,}"


def _unescape(text: str) -> str:
    r"""Return *text* with escapes like ``\u0041`` decoded, as in JSON within JSON."""
    return re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)


_DECODERS: Sequence[tuple[str, Callable[[str], str]]] = (
    ("%", unquote),
    ("%", unquote),  # a URL within a URL
    ("\\", _unescape),
    ("+", unquote_plus),  # last: a "+" may stand for itself
)
"""Encodings of identifiers in URLs and JSON: a character that the encoded text
contains, and the function that decodes it."""


class TextMasker:
    """
    Masks certain texts wherever they occur in others, in time linear in the length.

    The search ignores case and whether characters are composed or decomposed. It also
    finds texts that are percent-encoded, or escaped as in JSON. A text of less than
    four ASCII characters is masked only where it is a whole word.

    Args:
        texts: The texts to mask.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        folded = {_fold(_normalize(text)) for text in texts} - {""}
        self._exact = folded
        self._should_mask_all = sum(map(len, folded)) > _MAX_SEARCH_CHARACTERS
        # An Aho-Corasick automaton. For each node: the next node by character, the node
        # to fall back to, and the length of the longest text that ends there.
        self._transitions: list[dict[str, int]] = [{}]
        self._fail_links = [0]
        self._match_lengths = [0]
        if not self._should_mask_all:
            for text in folded:
                self._add_text(text)
            self._build_fail_links()

    def _add_text(self, text: str) -> None:
        node = 0
        for char in text:
            next_node = self._transitions[node].get(char)
            if next_node is None:
                next_node = self._transitions[node][char] = len(self._transitions)
                self._transitions.append({})
                self._fail_links.append(0)
                self._match_lengths.append(0)
            node = next_node
        self._match_lengths[node] = len(text)

    def _build_fail_links(self) -> None:
        queue = deque(self._transitions[0].values())
        while queue:
            node = queue.popleft()
            for char, child in self._transitions[node].items():
                self._fail_links[child] = self._find_next(self._fail_links[node], char)
                suffix_length = self._match_lengths[self._fail_links[child]]
                self._match_lengths[child] = self._match_lengths[child] or suffix_length
                queue.append(child)

    def _find_next(self, node: int, char: str) -> int:
        while node and char not in self._transitions[node]:
            node = self._fail_links[node]
        return self._transitions[node].get(char, 0)

    def mask(self, text: str) -> str:
        """Return *text* with the texts masked; decoded if that reveals one."""
        if self._should_mask_all:
            return MASK
        shown = decoded = self._mask_plain(_normalize(text))
        for marker, decode in _DECODERS:
            if marker in decoded:
                decoded = _normalize(decode(decoded))
                masked = self._mask_plain(decoded)
                if masked != decoded:
                    shown = decoded = masked
        return shown

    def mask_json(self, value: Any) -> Any:
        """Return the JSON *value* with the texts masked in its keys and values."""
        if isinstance(value, dict):
            masked: dict[str, Any] = {}
            for key, inner in value.items():
                name = self.mask(key)
                while name in masked:  # two keys that were masked
                    name += "*"
                masked[name] = self.mask_json(inner)
            return masked
        if isinstance(value, list):
            return [self.mask_json(item) for item in value]
        if isinstance(value, str):
            return self.mask(value)
        text = json.dumps(value)
        is_masked = (
            self._should_mask_all
            or text in self._exact
            or text.removesuffix(".0") in self._exact
        )
        return MASK if is_masked else value

    def _mask_plain(self, text: str) -> str:
        folded = _fold(text)
        if len(folded) == len(text):
            return _replace_spans(text, self._find_spans(folded))
        # Some characters fold to two: "ß" is found as "ss".
        indexes = [index for index, c in enumerate(text) for _ in _fold(c)]
        spans = [
            (indexes[start], indexes[end - 1] + 1)
            for start, end in self._find_spans(folded)
        ]
        return _replace_spans(text, spans)

    def _find_spans(self, folded: str) -> list[tuple[int, int]]:
        """Return start and end of each text found in *folded*, ordered by the end."""
        node, spans = 0, []
        for index, char in enumerate(folded):
            node = self._find_next(node, char)
            length = self._match_lengths[node]
            if length:
                span = index + 1 - length, index + 1
                if length >= _MIN_LENGTH_WITHIN_WORDS or _is_word(folded, *span):
                    spans.append(span)
        return spans


def _is_word(text: str, start: int, end: int) -> bool:
    if not text[start:end].isascii():
        return True  # such as a Chinese name, which has no spaces around it
    return not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())


def _normalize(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else text.casefold()


def _replace_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """
    Return *text* with the mask in place of *spans*, which are ordered by their ends.

    Spans that touch or overlap are replaced by one mask.
    """
    parts: list[str] = []
    end = len(text)
    mask_start = end + 1  # of the last mask that was inserted
    for start, stop in reversed(spans):
        if stop < mask_start:
            parts += [text[stop:end], MASK]
        if stop < mask_start or start < mask_start:
            mask_start = end = min(start, mask_start)
    parts.append(text[:end])
    return "".join(reversed(parts))


def mask_event(event: OdpEvent) -> dict[str, Any]:
    """Return the body of *event* with its identifiers masked wherever they occur."""
    # Actions, data and their keys often repeat the identifiers.
    masker = TextMasker(event.identifiers.values())
    body = event.to_dict()
    return {
        "type": masker.mask(body["type"]),
        "action": masker.mask(body["action"]),
        "identifiers": dict.fromkeys(body["identifiers"], MASK),
        "data": masker.mask_json(body["data"]),
    }


def mask_type_and_action(event: OdpEvent) -> str:
    """Return type and action of *event*, shortened, with its identifiers masked."""
    masker = TextMasker(event.identifiers.values())
    names = [
        masker.mask(name)[:_MAX_NAME_LENGTH] for name in (event.type, event.action)
    ]
    return "/".join(map(_flatten, names))


def mask_reason(reason: str, event: OdpEvent) -> str:
    """Return ODP's *reason* with every value that it may quote from *event* masked."""
    if len(reason) >= _MAX_REASON_LENGTH:
        # It may have been cut within a quotation; half a word would not be recognized.
        reason = f"{reason[:_MAX_REASON_LENGTH].rpartition(' ')[0]} …"
    # Decoded twice, as in `_DECODERS`: a URL within a URL.
    reason = _normalize(_flatten(_unescape(unquote(unquote(reason)))))
    body = event.to_dict()
    values = [*_iter_texts(body["identifiers"]), *_iter_texts(body["data"])]
    candidates = {_fold(_normalize(_flatten(text))) for text in values}
    reason = TextMasker(_find_quoted(_fold(reason), candidates)).mask(reason)
    # A value that is escaped, cut or spaced differently still has the same words.
    reason_words = set(re.findall(_WORD, _fold(reason)))
    value_words = {word for text in candidates for word in re.findall(_WORD, text)}
    words = value_words & reason_words
    reason = re.sub(
        _WORD, lambda match: MASK if _fold(match[0]) in words else match[0], reason
    )
    # What still looks like a mail address or a long number is masked in any case.
    return re.sub(r"\S+@\S+|\d[\d .-]{2,}\d", MASK, reason)


def _find_quoted(text: str, candidates: set[str]) -> set[str]:
    """Return those of *candidates*, from 2 characters on, that occur in *text*."""
    return {
        quote for quote in candidates if 1 < len(quote) <= len(text) and quote in text
    }


def _flatten(text: str) -> str:
    """Return *text* on one line, without control characters, like a reason."""
    return make_printable(" ".join(text.split()))


def _iter_texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _iter_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _iter_texts(item)
    else:
        yield str(value)
