"""Wrap keys and passwords so that no repr, pickle or traceback shows them.

Settings wrap a key as soon as they get it. Only transports and queue clients unwrap it.
"""

from __future__ import annotations

from typing import Any, NoReturn


class Secret:
    """Wrap *value*; a repr shows only its last four characters.

    Args:
        value: An API key, or an object that holds one.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def get_secret_value(self) -> Any:
        """Return the wrapped value. Put it into a request and nowhere else."""
        return self._value

    # No local variable of these methods holds the value, because tracebacks and
    # debuggers show local variables.

    def is_visible_ascii(self) -> bool:
        """Return whether the value is ASCII without blanks or control characters."""
        return (
            self._value.isascii()
            and self._value.isprintable()
            and " " not in self._value
        )

    def surround(self, start: bytes, end: bytes) -> Secret:
        """Return *start*, the value as ASCII, and *end*, wrapped as one value."""
        wrapped = Secret(None)
        wrapped._value = b"".join((start, self._value.encode("ascii"), end))
        return wrapped

    def mask_in(self, text: str) -> str:
        """Return *text* with ``***`` in place of the value."""
        return text.replace(self._value, "***") if self._value else text

    def format_masked(self, label: str) -> str:
        """Return *label* with the value's last characters, if a message may show them.

        Returns:
            Such as ``the key …1234``, or ``the key`` alone for a short value.
        """
        shown = repr(self)
        return label if shown == "…" else f"{label} {shown}"

    def __repr__(self) -> str:
        # The last four characters would give away too much of a short key.
        if isinstance(self._value, str) and len(self._value) >= 12:
            end = self._value[-4:]
            if end.isascii() and end.isprintable():
                return f"…{end}"
        return "…"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; set ODP_API_KEY where it is needed")


def wrap_text(value: Any) -> Any:
    """
    Return *value*, wrapped if it is a str or bytes.

    A key may be passed by mistake where an object is expected. The traceback of the
    error may show local variables, but must not show the key.
    """
    return Secret(value) if isinstance(value, (str, bytes)) else value


class OpaqueSecret(Secret):
    """A `Secret` with no character in its repr, for a text that contains a secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "…"

    __str__ = __repr__
