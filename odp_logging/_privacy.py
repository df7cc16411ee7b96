"""What must not leave as it was logged: data that is replaced, identifiers hashed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
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

    def hashed(self, identifiers: Any) -> Any:
        """Return logged *identifiers* with those to be hashed hashed."""
        if not self._names or isinstance(identifiers, (Unfit, InvalidEventError)):
            return identifiers
        named = canonical_identifiers(identifiers)
        if self._names.isdisjoint(named):
            return identifiers
        return self._replaced(named, {})

    def of(self, event: OdpEvent) -> OdpEvent:
        """Return *event*, which the application made, as it may leave."""
        return self._private(event, {})

    def again(self, changed: OdpEvent, event: OdpEvent) -> OdpEvent:
        """Return what before_send made of *event*, which was private already."""
        return event if changed is event else self._private(changed, event.identifiers)

    def _private(self, event: OdpEvent, done: Mapping[str, str]) -> OdpEvent:
        identifiers = self._replaced(event.identifiers, done)
        data: Mapping[str, Any] = event.data
        if self._redact:
            data = freeze_mapping(data, hidden=self._redact, uncounted=OWN_DATA)
        if identifiers == event.identifiers and data == event.data:
            return event
        return replace(event, identifiers=identifiers, data=data)

    def _replaced(
        self, identifiers: Mapping[str, str], done: Mapping[str, str]
    ) -> dict[str, str]:
        """Return *identifiers* hashed, but for those that are *done* already."""
        return {
            name: self._digest(value)
            if name in self._names and done.get(name) != value
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
