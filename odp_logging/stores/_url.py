"""Which queue events are handed to: the parts of a ``queue_url``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .._secret import Secret

if TYPE_CHECKING:
    from ._shared import Shared

GOOD = "a URL such as redis://host:6379/0?stream=odp:events&shards=4"

_HIGH_WATER = 1_000_000
"""Events; about 350 MB of Redis' memory at 343 bytes an event of 260 bytes."""

_WHOLE = {"shards": (1, 1024), "high_water": (1, 10**12)}
_NAME = r"[\w.:-]{1,100}"


class QueueUrl(NamedTuple):
    """
    A queue's address; its credentials do not show themselves.

    Args:
        engine: Names the module of `stores` that knows this kind of queue.
        flavours: What stands after ``+`` in the scheme, such as ``"cluster"``.
        is_private: Whether to speak TLS.
        hosts: Names and ports; a port is None where none is given.
        path: What follows the hosts: for Redis the number of a database.
        credentials: User and password; of what is not given None.
        stream: Name that begins all names of the queue.
        shards: Streams over which the events are spread, by their first identifier.
        alias: Names the ODP account that the events are for, without its key.
        high_water: Events in the whole queue beyond which it takes no more.
    """

    engine: str
    flavours: tuple[str, ...]
    is_private: bool
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    credentials: Secret
    stream: str = "odp:events"
    shards: int = 1
    alias: str = "default"
    high_water: int = _HIGH_WATER

    @property
    def place(self) -> str:
        """The address for people: without user and password."""
        scheme = "+".join((self.engine + "s" * self.is_private, *self.flavours))
        hosts = ",".join(
            name if port is None else f"{name}:{port}" for name, port in self.hosts
        )
        return f"{scheme}://{hosts}/{self.path}?stream={self.stream}"

    @property
    def account(self) -> str:
        """Tells queues apart in file names; the same when a password changes."""
        import hashlib  # for those who have a spool

        whole = f"{self.place}\0{self.alias}"
        return hashlib.sha256(whole.encode()).hexdigest()[:10]

    def __repr__(self) -> str:
        return f"<QueueUrl {self.place}>"


def read_url(sealed: Secret) -> QueueUrl | str:
    """
    Return the parts of the URL that *sealed* keeps, or what would be right.

    Nothing is raised: a traceback would show the text in the frames of this module.
    """
    from urllib.parse import parse_qsl, unquote, urlsplit

    text = sealed.reveal()
    if not isinstance(text, str) or not (text.isascii() and text.isprintable()):
        return GOOD
    try:
        parts = urlsplit(text.strip())
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        return GOOD
    scheme, *flavours = parts.scheme.split("+")
    engine = _engine(scheme)
    who, _, where = parts.netloc.rpartition("@")
    hosts = _hosts(where)
    if hosts is None or parts.fragment:
        return GOOD
    if engine is None:
        return f"{GOOD}; no kind of queue is known by that scheme"
    read = _options(options)
    if isinstance(read, str):
        return f"{GOOD}; {read}"
    user, _, password = who.partition(":")
    return QueueUrl(
        engine,
        tuple(flavours),
        scheme != engine,
        hosts,
        parts.path.strip("/"),
        Secret((unquote(user) or None, unquote(password) or None)),
        **read,
    )


def _engine(scheme: str) -> str | None:
    """Return the name of the module for *scheme*; an ``s`` at its end asks for TLS."""
    from importlib.util import find_spec

    for name in (scheme, scheme.removesuffix("s")):
        if re.fullmatch("[a-z][a-z0-9]*", name) and find_spec(f"{__package__}.{name}"):
            return name
    return None


def _hosts(text: str) -> tuple[tuple[str, int | None], ...] | None:
    hosts: list[tuple[str, int | None]] = []
    for each in text.split(","):
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?", each)
        if match is None or int(match[2] or 0) > 65535:
            return None
        hosts.append((match[1].strip("[]"), int(match[2]) if match[2] else None))
    return tuple(hosts)


def _options(given: dict[str, str]) -> dict[str, Any] | str:
    read: dict[str, Any] = {}
    for name, value in given.items():
        if name in _WHOLE:
            least, most = _WHOLE[name]
            if not value.isdecimal() or not least <= int(value) <= most:
                return f"{name} is a whole number from {least} to {most}"
            read[name] = int(value)
        elif name in ("stream", "account"):
            if not re.fullmatch(_NAME, value):
                return f"{name} is made of letters, digits and . : - _"
            read["alias" if name == "account" else name] = value
        else:
            return "its options are stream, shards, account and high_water"
    return read


def engine_of(url: QueueUrl) -> Callable[..., Shared]:
    """
    Return what makes the store for *url*: `Stream`, of the module with its scheme.

    All that it takes is imported here: at the end of a process, when the last events
    leave, a thread cannot do it any more (`redis` loads `concurrent.futures`, which
    then raises).

    Raises:
        ImportError: It needs something that is not installed.
    """
    from importlib import import_module

    module: Any = import_module(f"{__package__}.{url.engine}")
    module.load()
    make: Callable[..., Shared] = module.Stream
    return make
