"""Connections to Redis: one server, or those of a cluster."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ...._runtime.extras import format_missing_extra
from ...._runtime.lock import monotonic
from ..messages import QueueError
from .errors import find_code, format_connection_error, format_response_error
from .sockets import ResponseLimits, limit_connection

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

_MISSING = format_missing_extra(
    "the module redis is missing", requirement="redis>=5.0.1", extra="redis"
)

_CONNECT_SECONDS = 2.0
_RESPONSE_SECONDS = 5.0
"""Seconds for a connection, and for the next byte of a response."""

_FULL_RESPONSE_SECONDS = 20.0
"""Seconds for a whole response where a call has no deadline; shorter than a lease."""

_MIN_SECONDS = 0.05
_DEFAULT_PORT = 6379
_SENTINEL_PORT = 26379


class Servers:
    """
    Connections to the servers of *url*, used by one thread at a time.

    Args:
        url: Addresses and credentials of the servers.
        clock: Monotonic time in seconds.

    Raises:
        ValueError: *url* has a part that Redis servers do not support.
    """

    def __init__(self, url: QueueUrl, clock: Callable[[], float] = monotonic) -> None:
        _check(url)
        self.is_cluster = "cluster" in url.variants
        self.is_sentinel = "sentinel" in url.variants
        self._url = url
        self._clock = clock
        self._startup_nodes = url.hosts
        self._client: Any = None
        self._seconds = 0.0
        self.limits = ResponseLimits(_FULL_RESPONSE_SECONDS, clock)
        """What the connections allow a response."""

    @contextmanager
    def connect(self, deadline: float | None = None) -> Iterator[None]:
        """
        Connect, and wait for responses until *deadline* at the latest.

        Raises:
            QueueError: Any failure. The next call opens new connections.
        """
        handled = sys.exc_info()[1]
        self.limits.deadline = math.inf if deadline is None else deadline
        seconds = self._seconds_until(deadline)
        if seconds != self._seconds:
            self.disconnect()  # its sockets have another timeout
        try:
            if self._client is None:
                self._seconds = seconds
                self._client = self._open_client(seconds)
            yield
        except QueueError:
            raise
        except BaseException as error:  # of the library, or of a time limit
            self.disconnect()
            # Its frames hold the password in local variables, which tracebacks show.
            traceback.clear_frames(error.__traceback__)
            if not isinstance(error, Exception):
                raise
            raise QueueError(self.format_error(error, handled)) from None

    def get_client(self, key: str) -> Any:
        """Return a client of the server that holds *key*. Only within `connect`."""
        if not self.is_cluster:
            return self._client
        # One server at a time: there MULTI works in every version of the library.
        node = self._client.get_node_from_key(key)
        return self._client.get_redis_connection(node)

    def group_by_server(self, keys: Mapping[int, str]) -> list[list[int]]:
        """Return the shards of *keys*, grouped by server."""
        if not self.is_cluster:
            return [list(keys)]
        groups: dict[str, list[int]] = {}
        for shard, key in keys.items():
            node = self._client.get_node_from_key(key)
            groups.setdefault(node.name, []).append(shard)
        return list(groups.values())

    @property
    def response_seconds(self) -> float:
        """Seconds that Redis has for a response. Only within `connect`."""
        return self._seconds

    def disconnect(self) -> None:
        """Close connections; the next call opens new ones."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.close()
        except Exception:  # the connection is dropped in any case
            pass

    def detach(self) -> None:
        """Drop connections unused in a forked child: they are the parent's."""
        self._client = None

    def _seconds_until(self, deadline: float | None) -> float:
        """Return the socket timeout: the limit, halved until it fits *deadline*."""
        # In few steps, because a new timeout needs a new connection.
        seconds = _RESPONSE_SECONDS
        if deadline is not None:
            left = max(_MIN_SECONDS, deadline - self._clock())
            while seconds > left:
                seconds /= 2
        return seconds

    def _open_client(self, seconds: float) -> Any:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {
            "socket_connect_timeout": min(_CONNECT_SECONDS, seconds),
            "socket_timeout": seconds,
            "socket_keepalive": True,
            "protocol": 2,  # responses are lists; version 3 has dicts
            "retry": Retry(NoBackoff(), 0),  # retries are the job of the flusher
            "ssl": self._url.is_private,
            "ssl_check_hostname": True,  # not the default before redis 6
        }
        if any(self._url.credentials.get_secret_value()):
            options["credential_provider"] = _Credentials(self._url)
        if self.is_cluster:
            return self._open_cluster(options)
        host, port = self._url.hosts[0]
        number = self._url.path
        if self.is_sentinel:
            service, _, number = self._url.path.partition("/")
            host, port = self._find_master(service, options)
        return self._open_server(host, port, db=int(number or 0), **options)

    def _open_server(self, host: str, port: int | None, **options: Any) -> Any:
        from redis.client import Redis

        def start_connection(connection: Any) -> None:
            # Before the first response, which may be that to AUTH.
            limit_connection(connection, self.limits)
            connection.on_connect()

        options["redis_connect_func"] = start_connection
        return Redis(host, port or _DEFAULT_PORT, **options)

    def _find_master(self, service: str, options: Mapping[str, Any]) -> tuple[str, int]:
        """
        Return the address of the master that the Sentinels name.

        Asked for each new connection: after a failover it is another one.
        """
        failure: Exception = QueueError(
            f"the queue {self._url.display_url} has no master that its Sentinels know"
            " by that name"
        )
        for host, port in self._url.hosts:
            try:
                address = self._query_sentinel(host, port, service, options)
            except Exception as error:
                failure = error
                continue
            if address:
                name, number = address
                return name.decode() if isinstance(name, bytes) else name, int(number)
        raise failure

    def _query_sentinel(
        self, host: str, port: int | None, service: str, options: Mapping[str, Any]
    ) -> Any:
        open_access = {**options, "credential_provider": None}
        # The password of the URL is for Redis. A Sentinel gets it if it asks for one.
        for access in (open_access, options):
            sentinel = self._open_server(host, port or _SENTINEL_PORT, **access)
            try:
                return sentinel.sentinel_get_master_addr_by_name(service)
            except Exception as error:
                if access is options or find_code(error) not in ("NOAUTH", "NOPERM"):
                    raise
            finally:
                sentinel.close()

    def _open_cluster(self, options: Mapping[str, Any]) -> Any:
        from redis.cluster import ClusterNode, RedisCluster

        # With the nodes found earlier, since those of the URL may be down now.
        build_node: Any = ClusterNode
        nodes = [
            build_node(host, port or _DEFAULT_PORT)
            for host, port in self._startup_nodes
        ]
        cluster: Any = RedisCluster(
            startup_nodes=nodes,
            # Called once a connection is ready.
            redis_connect_func=partial(limit_connection, limits=self.limits),
            **options,
        )
        found = [(node.host, node.port) for node in cluster.get_nodes()]
        self._startup_nodes = tuple(dict.fromkeys((*self._url.hosts, *found)))
        return cluster

    def format_error(
        self, error: Exception, handled: BaseException | None = None
    ) -> str:
        """
        Return one line that describes *error*, without the text that it quotes.

        Args:
            handled: The exception that the application was handling before, if any.
        """
        response = format_response_error(error, is_cluster=self.is_cluster)
        message = response or format_connection_error(
            error, handled, seconds=self._seconds
        )
        return f"the queue {self._url.display_url} {message}"


def _check(url: QueueUrl) -> None:
    if url.variants == ("sentinel",):
        _check_sentinel(url)
        return
    if url.variants not in ((), ("cluster",)):
        raise ValueError("its scheme has +cluster, +sentinel or no word after a +")
    if url.path and not url.path.isdecimal():
        raise ValueError("its path must be the number of a database, such as /0")
    if url.variants and url.path not in ("", "0"):
        raise ValueError("a cluster has database 0 only")
    if len(url.hosts) > 1 and not url.variants:
        raise ValueError(
            "it names several hosts; use redis+cluster:// for a cluster, and"
            " redis+sentinel:// for Sentinels"
        )
    if url.variants and url.is_private and not _has_host_name_check():
        raise ValueError(
            "rediss+cluster:// needs the module redis in version 6 or newer"
        )


def _check_sentinel(url: QueueUrl) -> None:
    service, _, number = url.path.partition("/")
    if not service or not (number or "0").isdecimal():
        raise ValueError(
            "its path must be the name that the Sentinels have for the master, and the"
            " number of a database, such as redis+sentinel://host1,host2/mymaster/0"
        )


def _has_host_name_check() -> bool:
    """Whether the library checks the host names of a cluster's certificates."""
    import redis

    # Before version 6 it was not the default, and a cluster's client dropped the
    # option.
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
    """Keeps user and password out of every repr of the library."""

    # Not derived from `redis.CredentialProvider`: importing it takes 0.1 s.

    def __init__(self, url: QueueUrl) -> None:
        self._url = url

    def get_credentials(self) -> Any:
        """Return the arguments of AUTH."""
        user, password = self._url.credentials.get_secret_value()
        return (password,) if user is None else (user, password)
