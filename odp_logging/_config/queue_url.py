"""Parse a ``queue_url``: which queue the events are handed to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._runtime.secret import Secret

EXPECTED = (
    "a URL such as redis://host:6379/0?stream=odp:events&shards=4 or"
    " postgresql://user@host:5432/database"
)

_URL = (
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?#?"
)


class QueueUrl(NamedTuple):
    """
    A queue's address; its credentials are never shown.

    Args:
        engine: Name of the module in `_stores.queue` for this kind of queue.
        variants: Words after ``+`` in the scheme, such as ``"cluster"``.
        is_private: Whether the connection uses TLS.
        hosts: Names and ports; a port is None if the URL has none.
        path: Text after the hosts: the name or number of a database.
        credentials: User and password; each is None if the URL has none.
        alias: Name of the ODP account that the events are for, without its key.
        high_water: Number of events in the whole queue from which it takes no more.
        options: Names and values of `QueueEngine.url_options`. The first one names the
            place of the events on the hosts.
    """

    engine: str
    variants: tuple[str, ...]
    is_private: bool
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    credentials: Secret
    alias: str = "default"
    high_water: int = 1_000_000
    options: tuple[tuple[str, Any], ...] = ()

    def get_option(self, name: str) -> Any:
        """Return the value of one of *options*."""
        return dict(self.options)[name]

    @property
    def display_url(self) -> str:
        """The address for messages, without user and password."""
        scheme = "+".join((self.engine + "s" * self.is_private, *self.variants))
        bracketed = [
            (f"[{name}]" if ":" in name else name, port) for name, port in self.hosts
        ]
        hosts = ",".join(
            name if port is None else f"{name}:{port}" for name, port in bracketed
        )
        query = [f"?{name}={value}" for name, value in self.options[:1]]
        return f"{scheme}://{hosts}/{self.path}" + "".join(query)

    @property
    def fingerprint(self) -> str:
        """The part of file names that stands for this queue, whatever its password."""
        import hashlib  # 2 ms; needed with a spool only

        text = f"{self.display_url}\0{self.alias}"
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def __repr__(self) -> str:
        return f"<QueueUrl {self.display_url}>"


def parse_queue_url(url: Secret) -> QueueUrl | str:
    """
    Return the parts of the wrapped *url*, or the form that is expected.

    Raises nothing: a traceback could show the URL's text in the frames of this module.
    """
    from urllib.parse import parse_qsl, unquote

    text = url.get_secret_value()
    if not isinstance(text, str) or not (text.isascii() and text.isprintable()):
        return EXPECTED
    # Not urlsplit: CPython 3.14.10 refuses "a:1,[::1]:2" because of its brackets.
    parts = re.fullmatch(_URL, text.strip())
    if parts is None:
        return EXPECTED
    try:
        # Blank values are kept, so that "stream=" is an error and not the default.
        options = dict(parse_qsl(parts["query"] or "", keep_blank_values=True))
    except ValueError:
        return EXPECTED
    scheme, *variants = parts["scheme"].lower().split("+")
    name, engine = _find_engine(scheme)
    credentials, _, host_list = parts["authority"].rpartition("@")
    hosts = _parse_hosts(host_list)
    if hosts is None:
        return EXPECTED
    if engine is None:
        return f"{EXPECTED}; no kind of queue is known by that scheme"
    parsed = _parse_options(options, engine)
    if isinstance(parsed, str):
        return f"{engine.url_example or EXPECTED}; {parsed}"
    user, _, password = credentials.partition(":")
    return QueueUrl(
        name,
        tuple(variants),
        scheme == name + "s",
        hosts,
        parts["path"].strip("/"),
        Secret((unquote(user) or None, unquote(password) or None)),
        parsed.pop("account"),
        parsed.pop("high_water"),
        tuple(parsed.items()),
    )


_ENGINE_PACKAGE = f"{__package__.rpartition('.')[0]}._stores.queue"
"""Package with one module per queue engine."""

_ALIASES = {"postgres": "postgresql"}
"""Other names of a scheme, which client libraries accept as well."""


def _find_engine(scheme: str) -> tuple[str, Any]:
    """
    Return module and engine for *scheme*; the engine is None if there is none.

    A final ``s`` stands for TLS. Imports no client library.
    """
    # By name: the settings are a layer below the queues.
    from importlib import import_module
    from importlib.util import find_spec

    scheme = _ALIASES.get(scheme, scheme)
    for name in (scheme, scheme.removesuffix("s")):
        module = f"{_ENGINE_PACKAGE}.{name}"
        if re.fullmatch("[a-z][a-z0-9]*", name) and find_spec(module):
            # Modules without an engine are shared by all engines.
            engine = getattr(import_module(module), "Engine", None)
            if engine is not None:
                return name, engine
    return "", None


def _parse_hosts(text: str) -> tuple[tuple[str, int | None], ...] | None:
    hosts: list[tuple[str, int | None]] = []
    for host in text.split(","):
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?", host)
        if match is None or int(match[2] or 0) > 65535:
            return None
        hosts.append((match[1].strip("[]"), int(match[2]) if match[2] else None))
    return tuple(hosts)


def _parse_options(texts: Mapping[str, str], engine: Any) -> dict[str, Any] | str:
    """Return the values of all options, or what is wrong with *texts*."""
    options = {**engine.url_options, **engine.common_url_options}
    parsed = {name: option.default for name, option in options.items()}
    for name, text in texts.items():
        if name not in options:
            *rest, last = options
            return f"its options are {', '.join(rest)} and {last}"
        try:
            parsed[name] = options[name].parse(text)
        except ValueError as error:
            return f"{name} {error}"
    return parsed
