"""Connections to Redis: one server, or those of a cluster."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ._parcels import QueueError
from ._url import QueueUrl

_MISSING = "the module redis is missing; pip install 'odp-logging[redis]'"

_CONNECT = 2.0
_ANSWER = 5.0
"""Seconds for a connection, and for an answer."""

_LEAST = 0.05
_PORT = 6379


class Servers:
    """
    The servers that *url* names, asked by one thread at a time.

    Args:
        url: Where they are, with their credentials.
        clock: Seconds, monotonic.

    Raises:
        ValueError: *url* says what no server of ours has.
    """

    def __init__(
        self, url: QueueUrl, clock: Callable[[], float] = time.monotonic
    ) -> None:
        _check(url)
        self.is_cluster = "cluster" in url.flavours
        self._url = url
        self._clock = clock
        self._seeds = url.hosts
        self._client: Any = None
        self._seconds = 0.0

    @contextmanager
    def asking(self, deadline: float | None = None) -> Iterator[None]:
        """
        Have answers until *deadline*.

        Raises:
            QueueError: Whatever goes wrong. What comes next opens new connections.
        """
        seconds = self._seconds_until(deadline)
        if seconds != self._seconds:
            self.disconnect()  # its sockets were made for another time
        try:
            if self._client is None:
                self._seconds = seconds
                self._client = self._connected(seconds)
            yield
        except QueueError:
            raise
        except BaseException as error:  # the library's, or that of a time limit
            self.disconnect()
            # In its frames the password is a local variable, which tracebacks show.
            traceback.clear_frames(error.__traceback__)
            if not isinstance(error, Exception):
                raise
            raise QueueError(self.said(error)) from None

    def of(self, key: str) -> Any:
        """Return a client of the server that has *key*; only while asking."""
        if not self.is_cluster:
            return self._client
        # One server at a time: MULTI works there, whatever the library's version.
        node = self._client.get_node_from_key(key)
        return self._client.get_redis_connection(node)

    def groups(self, keys: Mapping[int, str]) -> list[list[int]]:
        """Return the numbers of *keys*, those that one server has together."""
        if not self.is_cluster:
            return [list(keys)]
        groups: dict[str, list[int]] = {}
        for number, key in keys.items():
            node = self._client.get_node_from_key(key)
            groups.setdefault(node.name, []).append(number)
        return list(groups.values())

    def disconnect(self, *, forked: bool = False) -> None:
        """Let go of connections; a fork's are the parent's, and only forgotten."""
        client, self._client = self._client, None
        if client is None or forked:
            return
        try:
            client.close()
        except Exception:  # it is gone either way
            pass

    def _seconds_until(self, deadline: float | None) -> float:
        """Return how long a socket may wait, in few steps: each is a connection."""
        seconds = _ANSWER
        if deadline is not None:
            left = max(_LEAST, deadline - self._clock())
            while seconds > left:
                seconds /= 2
        return seconds

    def _connected(self, seconds: float) -> Any:
        from redis.backoff import NoBackoff
        from redis.client import Redis
        from redis.retry import Retry

        options: dict[str, Any] = {
            "socket_connect_timeout": min(_CONNECT, seconds),
            "socket_timeout": seconds,
            "socket_keepalive": True,
            "protocol": 2,  # lists, where the third one has dicts
            "retry": Retry(NoBackoff(), 0),  # when to try again is not for it to say
            "ssl": self._url.is_private,
            "ssl_check_hostname": True,  # not the default before redis 6
        }
        if any(self._url.credentials.reveal()):
            options["credential_provider"] = _Credentials(self._url)
        if self.is_cluster:
            return self._clustered(options)
        host, port = self._url.hosts[0]
        return Redis(host, port or _PORT, db=int(self._url.path or 0), **options)

    def _clustered(self, options: Mapping[str, Any]) -> Any:
        from redis.cluster import ClusterNode, RedisCluster

        # Those that were found later as well: the ones in the URL may be down now.
        node: Any = ClusterNode
        nodes = [node(host, port or _PORT) for host, port in self._seeds]
        cluster: Any = RedisCluster(startup_nodes=nodes, **options)
        found = [(each.host, each.port) for each in cluster.get_nodes()]
        self._seeds = tuple(dict.fromkeys((*self._url.hosts, *found)))
        return cluster

    def said(self, error: Exception) -> str:
        """Return one line on *error*, without what it quotes."""
        name, text = type(error).__name__, str(error)
        place = f"the queue {self._url.place}"
        if name in ("MovedError", "AskError") or " MOVED " in f" {text}":
            if self.is_cluster:
                return f"{place} moved a shard to another server"
            return f"{place} is part of a cluster; write redis+cluster://"
        if name == "OutOfMemoryError" or "OOM" in text[:40]:
            return f"{place} has no memory left; raise its maxmemory"
        if "WRONGPASS" in text or "NOAUTH" in text or name.startswith("Authentication"):
            return f"{place} refuses the user or password of its URL"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return (
                f"{place} has a certificate that is not trusted here; name the file of"
                " its authority with SSL_CERT_FILE, and in the URL the host it is for"
            )
        if "unknown command" in text.lower():
            return f"{place} is older than Redis 6.2, which this needs"
        return f"{place} gave no answer ({name})"


def _check(url: QueueUrl) -> None:
    if url.flavours not in ((), ("cluster",)):
        raise ValueError("after the + in its scheme can stand cluster, no other word")
    if url.path and not url.path.isdecimal():
        raise ValueError("its path is the number of a database, such as /0")
    if url.flavours and url.path not in ("", "0"):
        raise ValueError("a cluster has one database, which is 0")
    if len(url.hosts) > 1 and not url.flavours:
        raise ValueError("several hosts are a cluster's; write redis+cluster://")
    if url.flavours and url.is_private and not _names_are_checked():
        raise ValueError(
            "rediss+cluster:// needs the module redis in version 6 or newer"
        )


def _names_are_checked() -> bool:
    """Whether a cluster's nodes must have certificates for their names."""
    import redis

    # Before that it was not the default, and a cluster's client dropped the option.
    return int(redis.__version__.partition(".")[0]) >= 6


def load() -> None:
    """
    Import `redis`.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import redis.backoff
        import redis.client
        import redis.cluster
        import redis.retry  # noqa: F401
    except ImportError:
        raise ImportError(_MISSING) from None


class _Credentials:
    """Hands out what no repr of the library's parts may show."""

    # Not derived from `redis.CredentialProvider`, which takes 0.1 s to be imported.

    def __init__(self, url: QueueUrl) -> None:
        self._url = url

    def get_credentials(self) -> Any:
        """Return the arguments of AUTH."""
        user, password = self._url.credentials.reveal()
        return (password,) if user is None else (user, password)
