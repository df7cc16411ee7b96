"""A connection to PostgreSQL, with one time limit for each call.

It drives libpq through `psycopg.pq`. The cursors of psycopg wait for a result without
a limit. A server that is suspended, or sends one byte at a time, would hold them.
"""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ...._runtime.extras import format_missing_extra
from ...._runtime.lock import monotonic
from ..messages import QueueError
from .errors import format_libpq_error, format_state
from .schema import SCHEMA_VERSION, parse_version
from .tables import Tables
from .values import Parameter, encode_text, parse_result

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

_MISSING = format_missing_extra(
    "the module psycopg is missing",
    requirement="psycopg[binary]>=3.1.8",
    extra="postgres",
)
_NO_LIBPQ = "psycopg finds no libpq; pip install 'psycopg[binary]', or install libpq5"

_CONNECT_SECONDS = 2.0
_CALL_SECONDS = 5.0
"""Seconds for a connection to one host, and for a call with all its results."""

_MIN_SECONDS = 0.05
_DEFAULT_PORT = 5432
_LIBPQ_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey")

_READ_VERSION = """\
SELECT (to_regclass($1) IS NOT NULL)::int, obj_description(to_regclass($1), 'pg_class')\
"""


class _Failure(Exception):
    """What is wrong, in words that continue "the queue ..." and quote no value."""


class Server:
    """
    A connection to the database of *url*, used by one thread at a time.

    Args:
        url: Hosts, database and credentials.
        tables: Tables of which the version is checked; None for no check.
        clock: Monotonic time in seconds.
        call_seconds: Limit of a call without a deadline.
    """

    def __init__(
        self,
        url: QueueUrl,
        tables: Tables | None,
        *,
        clock: Callable[[], float] = monotonic,
        call_seconds: float = _CALL_SECONDS,
    ) -> None:
        self._url = url
        self._tables = tables
        self._clock = clock
        self._call_seconds = call_seconds
        self._connection: Any = None
        self._process = 0
        self._started_at = self._deadline = 0.0
        self._is_pooled = False
        self._is_listening = False
        self.lost_connections = 0
        """How many connections were lost."""

    @contextmanager
    def connect(self, deadline: float | None = None) -> Iterator[None]:
        """
        Connect; end the block with an error at *deadline*, or after the limit.

        Raises:
            QueueError: Any failure. The next call opens another connection.
        """
        self._set_limit(deadline)
        try:
            if self._connection is not None and (
                self._process != os.getpid() or self._is_stale()
            ):
                self.disconnect()
                self.lost_connections += 1
            if self._connection is None:
                self._open()
            yield
        except QueueError:
            raise
        except BaseException as error:
            self.disconnect()
            self.lost_connections += 1
            # Frames hold password and events in local variables, which tracebacks show.
            traceback.clear_frames(error.__traceback__)
            if not isinstance(error, Exception):
                raise
            raise QueueError(
                f"the queue {self._url.display_url} {_format_error(error)}"
            ) from None

    def run(self, statement: str, *parameters: Parameter) -> list[tuple[Any, ...]]:
        """Return the rows of one statement. Only within `connect`."""
        # Binary values both ways (libpq's format 1), so that none has to be escaped.
        self._connection.send_query_params(
            statement.encode(),
            [parameter.value for parameter in parameters],
            [parameter.type for parameter in parameters],
            [1] * len(parameters),
            1,
        )
        return self._read_results()[-1]

    def run_script(self, script: str) -> list[list[tuple[Any, ...]]]:
        """
        Return the rows of each statement of *script*, which is one transaction.

        It takes one round trip. Only within `connect`.
        """
        # The simple query protocol: the extended one takes one statement at a time.
        self._connection.send_query(script.encode())
        return self._read_results()

    def listen(self, channel: str) -> None:
        """Receive notifications of *channel*, unless a pooler is in between."""
        if not self._is_listening and not self._is_pooled:
            self.run_script(f'LISTEN "{channel}"')
            self._is_listening = True

    def wait_for_notify(self, seconds: float, min_wait: float = 0.0) -> bool:
        """
        Whether there is a notification within *seconds*. Only within `connect`.

        Args:
            min_wait: Seconds in which a notification does not end the wait.
        """
        now = self._clock()
        deadline, min_deadline = now + seconds, now + min(min_wait, seconds)
        has_notify = False
        while True:
            has_notify = self._has_notify() or has_notify
            left = (min_deadline if has_notify else deadline) - self._clock()
            if left <= 0:
                return has_notify
            if _poll(self._connection.socket, left):
                self._connection.consume_input()

    def _has_notify(self) -> bool:
        found = False
        while self._connection.notifies() is not None:
            found = True
        return found

    def disconnect(self) -> None:
        """Close the connection; the next call opens another one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._process != os.getpid():
            self._connection = connection
            self.detach()
            return
        try:
            connection.finish()
        except Exception:  # the connection is dropped in any case
            pass

    def detach(self) -> None:
        """Drop the connection in a forked child: the session is the parent's."""
        connection = self._connection
        if connection is None or self._process == os.getpid():
            self.disconnect()
            return
        self._connection = None
        # Without the farewell that would end the parent's session.
        try:
            os.close(connection.socket)
        except Exception:  # it has none any more
            pass

    # Time.

    def _set_limit(self, deadline: float | None) -> None:
        self._started_at = self._clock()
        seconds = self._call_seconds
        if deadline is not None:
            seconds = max(_MIN_SECONDS, min(seconds, deadline - self._started_at))
        self._deadline = self._started_at + seconds

    def _wait(self, deadline: float, *, write: bool = False) -> None:
        """Wait until the socket can be read, or written; fail at *deadline*."""
        left = deadline - self._clock()
        if left <= 0 or not _poll(self._connection.socket, left, write=write):
            raise _Failure(f"gave no answer within {deadline - self._started_at:.3g} s")

    def _is_stale(self) -> bool:
        """Whether the server has ended the connection while it was not used."""
        from psycopg import pq

        try:
            # The last message and the end of the stream take a read each.
            for _ in range(10):
                if not _poll(self._connection.socket, 0.0):
                    break
                self._connection.consume_input()
            return bool(self._connection.status != pq.ConnStatus.OK)
        except Exception:
            return True

    # The login.

    def _open(self) -> None:
        """Connect to the first host that accepts, and check the tables."""
        hosts = self._url.hosts
        failure: Exception = _Failure("names no host")
        for index, (host, port) in enumerate(hosts):
            now = self._clock()
            # Each host has a share: one that is down leaves time for the others.
            host_seconds = (self._deadline - now) / (len(hosts) - index)
            deadline = now + min(host_seconds, _CONNECT_SECONDS)
            try:
                self._open_host(host, port, deadline)
                break
            except Exception as error:
                failure = error
                self.disconnect()
        else:
            raise failure
        self._check_tables()

    def _open_host(self, host: str, port: int | None, deadline: float) -> None:
        try:
            self._log_in(host, port, deadline)
        except Exception as error:
            # A pooler as PgBouncer does not know the parameters of a session.
            if self._is_pooled or "unsupported startup parameter" not in str(error):
                raise
            self._is_pooled = True
            self.disconnect()
            self._log_in(host, port, deadline)

    def _log_in(self, host: str, port: int | None, deadline: float) -> None:
        from psycopg import pq

        self._is_listening = False
        self._process = os.getpid()
        conninfo = self._build_conninfo(host, port)
        self._connection = connection = pq.PGconn.connect_start(conninfo)
        while True:
            if connection.status == pq.ConnStatus.BAD:
                raise _LibpqError(connection.error_message.decode("utf-8", "replace"))
            state = connection.connect_poll()
            if state == pq.PollingStatus.OK:
                break
            if state == pq.PollingStatus.FAILED:
                raise _LibpqError(connection.error_message.decode("utf-8", "replace"))
            self._wait(deadline, write=state == pq.PollingStatus.WRITING)
        # Otherwise sending waits without a limit while the server does not read.
        connection.nonblocking = 1

    def _build_conninfo(self, host: str, port: int | None) -> bytes:
        user, password = self._url.credentials.get_secret_value()
        words: dict[str, Any] = {
            "host": host,
            "port": port or _DEFAULT_PORT,
            "dbname": unquote(self._url.path) or None,
            "user": user,
            # Else libpq looks into PGPASSWORD and its file.
            "password": password,
            "application_name": "odp-logging",
            "client_encoding": "UTF8",
            # A dead peer is noticed after a minute; by default after two hours.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # After a failover, one of several hosts is a standby.
            "target_session_attrs": "read-write" if len(self._url.hosts) > 1 else None,
            **{name: self._url.get_option(name) or None for name in _LIBPQ_OPTIONS},
        }
        if not self._is_pooled:
            # The server ends a statement shortly after this client gave it up.
            milliseconds = int(self._call_seconds * 1000) + 1000
            words["options"] = f"-c statement_timeout={milliseconds}"
        return " ".join(
            f"{name}={_quote_word(str(value))}"
            for name, value in words.items()
            if value is not None
        ).encode()

    def _check_tables(self) -> None:
        if self._tables is None:
            return
        version = self.read_version(self._tables)
        if version == 0:
            raise _Failure(format_state("42P01", self._tables.name))
        if version != SCHEMA_VERSION:
            raise _Failure(format_state("42703", self._tables.name))

    def read_version(self, tables: Tables) -> int | None:
        """
        Return the version of *tables*; 0 if there are none. Only within `connect`.

        None if there is a table of that name that is not of this library.
        """
        ((exists, comment),) = self.run(_READ_VERSION, encode_text(tables.events))
        return parse_version(comment) if exists else 0

    # Answers.

    def _read_results(self) -> list[list[tuple[Any, ...]]]:
        from psycopg import pq

        connection = self._connection
        while connection.flush():
            self._wait(self._deadline, write=True)
            # A server that is blocked until its results are read reads no more.
            if _poll(connection.socket, 0.0):
                connection.consume_input()
        results: list[list[tuple[Any, ...]]] = []
        failed: Any = None
        while True:
            while connection.is_busy():
                self._wait(self._deadline)
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                break
            if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                results.append(parse_result(result))
            elif failed is None:
                failed = result
        if failed is not None:
            raise self._build_failure(failed)
        return results

    def _build_failure(self, result: Any) -> Exception:
        from psycopg import pq

        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        if not state:  # libpq's own error: the connection is lost
            return _LibpqError(result.error_message.decode("utf-8", "replace"))
        table = "" if self._tables is None else self._tables.name
        return _Failure(format_state(state.decode(), table))


class _LibpqError(Exception):
    """An error of libpq; its text is not shown."""


def _format_error(error: Exception) -> str:
    if isinstance(error, _Failure):
        return str(error)
    if isinstance(error, _LibpqError) or type(error).__module__.startswith("psycopg"):
        return format_libpq_error(str(error))
    if isinstance(error, OSError) and error.errno:
        return f"cannot be reached: {os.strerror(error.errno)}"
    return f"gave an answer that cannot be read ({type(error).__name__})"


def _quote_word(text: str) -> str:
    """Return *text* as a value in a connection string of libpq."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _poll(socket: int, seconds: float, *, write: bool = False) -> bool:
    """Whether *socket* can be read, or written if *write*, within *seconds*."""
    if hasattr(select, "poll"):
        waiting = select.poll()
        waiting.register(socket, select.POLLIN | (select.POLLOUT if write else 0))
        return bool(waiting.poll(seconds * 1000))
    readers, writers, _ = select.select([socket], [socket] * write, [], seconds)
    return bool(readers or writers)


def load() -> None:
    """
    Import `psycopg`.

    Raises:
        ImportError: It is not installed, or finds no libpq.
    """
    try:
        import psycopg.pq  # noqa: F401
    except ModuleNotFoundError:
        raise ImportError(_MISSING) from None
    except ImportError:
        raise ImportError(_NO_LIBPQ) from None
