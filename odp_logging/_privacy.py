"""What must not leave as it was logged: data that is replaced, identifiers hashed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Any

from ._event import OWN_DATA, OdpEvent
from ._identifiers import canonical_identifiers
from ._plain import Unfit, freeze_mapping
from ._secret import Secret
from .exceptions import InvalidEventError

_ALIAS = "fs_user_id"


class Privacy:
    """
    Keeps the settings ``redact``, ``hash_identifiers`` and ``hash_salt``.

    A hashed identifier is the SHA-256 of its value without blanks around it and in
    lower case, in UTF-8, as 64 hexadecimal digits; with a salt, the HMAC-SHA-256 keyed
    with it. ODP compares identifiers letter by letter: the same person is found again
    only if every system that sends to this account hashes the same way, and ODP cannot
    write to an address it does not know. Without a salt, whoever has a list of
    addresses can hash it and compare.

    Args:
        redact: Keys of data, at any depth, whose values are replaced.
        hashed: Names of the identifiers to hash.
        salt: A secret of the application's own.
    """

    def __init__(
        self,
        redact: frozenset[str] = frozenset(),
        hashed: frozenset[str] = frozenset(),
        salt: Secret | None = None,
    ) -> None:
        self._redact = redact
        self._names = frozenset(map(_canonical_name, hashed))
        self._digest = _digest_with(salt)

    def hashed(self, identifiers: Any, notes: dict[str, int]) -> Any:
        """Return logged *identifiers* with those to be hashed hashed.

        Args:
            notes: Where to count what is left out by that, see `canonical_identifiers`.
        """
        if not self._names or isinstance(identifiers, (Unfit, InvalidEventError)):
            return identifiers
        left_out: dict[str, int] = {}
        named = canonical_identifiers(identifiers, left_out)
        if self._names.isdisjoint(named):
            return identifiers
        notes.update(left_out)
        return self._replaced(named, frozenset())

    def of(self, event: OdpEvent) -> OdpEvent:
        """Return *event*, which the application made, as it may leave."""
        return self._private(event, frozenset())

    def again(self, changed: OdpEvent, event: OdpEvent) -> OdpEvent:
        """Return what before_send made of *event*, which was private already."""
        if changed is event:
            return event
        # By value: before_send may have given a hash another name.
        done = {event.identifiers.get(name, "") for name in self._names}
        return self._private(changed, done)

    def _private(self, event: OdpEvent, done: Set[str]) -> OdpEvent:
        identifiers = self._replaced(event.identifiers, done)
        data: Mapping[str, Any] = event.data
        if self._redact:
            data = freeze_mapping(data, hidden=self._redact, uncounted=OWN_DATA)
        if identifiers == event.identifiers and data == event.data:
            return event
        made = replace(event, identifiers=identifiers, data=data)
        for kind, count in event.adjusted.items():
            made = made.noting(kind, count)
        return made

    def _replaced(
        self, identifiers: Mapping[str, str], done: Set[str]
    ) -> dict[str, str]:
        """Return *identifiers* hashed, but for values that are *done* already."""
        return {
            name: self._digest(value)
            if name in self._names and value not in done
            else value
            for name, value in identifiers.items()
        }


def _canonical_name(name: str) -> str:
    return _ALIAS if name.lower().replace("-", "_") == _ALIAS else name


def _digest_with(salt: Secret | None) -> Callable[[str], str]:
    def digest(value: str) -> str:
        # Half a surrogate pair has no UTF-8.
        plain = value.strip().lower().encode("utf-8", "surrogatepass")
        if salt is None:
            return hashlib.sha256(plain).hexdigest()
        return hmac.new(salt.reveal().encode(), plain, "sha256").hexdigest()

    return digest
