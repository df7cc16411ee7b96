"""
The settings ``redact``, ``hash_identifiers`` and ``hash_salt``, applied to events.

`Builder` applies them to captured fields, and again to what before_send returns;
`OdpClient.send` applies them to events of the application.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Any

from .._runtime.secret import Secret
from ..exceptions import InvalidEventError
from .adjustments import Adjustments
from .body import LIBRARY_DATA
from .event import OdpEvent
from .identifiers import is_placeholder, normalize_identifiers
from .normalize import Unsupported, freeze_mapping

_ALIAS = "fs_user_id"


class Privacy:
    """
    Redacts data and hashes identifiers.

    A hashed identifier is the SHA-256 of its value, stripped, in lower case, in UTF-8,
    as 64 hexadecimal digits. With a salt it is the HMAC-SHA-256 keyed with the salt.
    ODP compares identifiers character by character: every system that sends to the
    account must hash the same way, and ODP cannot send e-mail to a hashed address.
    Without a salt, a list of known addresses can be hashed and compared.

    Args:
        redact: Keys of data, at any depth; their values are replaced.
        hashed: Names of the identifiers to hash.
        salt: A secret of the application.
    """

    def __init__(
        self,
        redact: frozenset[str] = frozenset(),
        hashed: frozenset[str] = frozenset(),
        salt: Secret | None = None,
    ) -> None:
        self._redact = redact
        self._names = frozenset(map(_normalize_name, hashed))
        self._digest = _make_digest(salt)

    def hash_identifiers(
        self,
        identifiers: Any,
        adjustments: Adjustments,
        *,
        reject_placeholders: bool = False,
    ) -> Any:
        """
        Return captured *identifiers*, with the selected ones hashed.

        Args:
            adjustments: Counts what is left out, see `normalize_identifiers`.
            reject_placeholders: See there. All hashes of a placeholder are equal too.
        """
        # The builder raises for these next, with the place of the log call.
        if not self._names or isinstance(identifiers, (Unsupported, InvalidEventError)):
            return identifiers
        left_out = Adjustments()
        named = normalize_identifiers(
            identifiers, left_out, reject_placeholders=reject_placeholders
        )
        # Nothing to hash: the identifiers are checked when the event is built.
        if self._names.isdisjoint(named) and not left_out:
            return identifiers
        adjustments.merge(left_out)
        return self._hash_selected(named, frozenset())

    def make_private(self, event: OdpEvent) -> OdpEvent:
        """Return *event*, which the application built, redacted and hashed."""
        return self._apply(event, frozenset())

    def recheck(self, changed: OdpEvent, event: OdpEvent) -> OdpEvent:
        """Return what before_send made of the private *event*, made private again."""
        if changed is event:
            return event
        # Compared by value: before_send may have renamed a hashed identifier.
        done = {event.identifiers.get(name, "") for name in self._names}
        return self._apply(changed, done)

    def _apply(self, event: OdpEvent, done: Set[str]) -> OdpEvent:
        identifiers = self._hash_selected(event.identifiers, done)
        data: Mapping[str, Any] = event.data
        if self._redact:
            data = freeze_mapping(data, hidden=self._redact, uncounted=LIBRARY_DATA)
        if identifiers == event.identifiers and data == event.data:
            return event
        private = replace(event, identifiers=identifiers, data=data)
        for kind, count in event.adjusted.items():
            private = private._with_adjustment(kind, count)
        return private

    def _hash_selected(
        self, identifiers: Mapping[str, str], done: Set[str]
    ) -> dict[str, str]:
        """
        Return *identifiers* with the selected ones hashed, except values in *done*.

        A placeholder such as ``None`` is not hashed: it names no customer, and a hash
        of it could not be recognized as one.
        """
        return {
            name: self._digest(value)
            if name in self._names and value not in done and not is_placeholder(value)
            else value
            for name, value in identifiers.items()
        }


def _normalize_name(name: str) -> str:
    return _ALIAS if name.lower().replace("-", "_") == _ALIAS else name


def _make_digest(salt: Secret | None) -> Callable[[str], str]:
    def digest(value: str) -> str:
        # A lone surrogate has no UTF-8.
        plain = value.strip().lower().encode("utf-8", "surrogatepass")
        if salt is None:
            return hashlib.sha256(plain).hexdigest()
        return hmac.new(salt.get_secret_value().encode(), plain, "sha256").hexdigest()

    return digest
