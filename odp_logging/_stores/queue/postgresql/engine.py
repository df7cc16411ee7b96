"""The engine for PostgreSQL: events in one table, leases and dead letters beside it.

An event is deleted once it is acknowledged, in the transaction that stores it as a dead
letter if it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ...._runtime.lock import monotonic
from ..base import LEASE_SECONDS, QueueEngine
from ..messages import (
    Consumer,
    DeadLetter,
    Depth,
    LeasedMessage,
    PublishFailure,
    QueueMessage,
)
from ..url_options import UrlOption, parse_choice
from .connection import Server, load
from .counter import Counter
from .dead_letters import DeadLetters
from .leases import Leases
from .publishing import Publisher
from .registry import Registry
from .schema import build_grants, build_schema
from .tables import DEFAULT_TABLE, Tables
from .upgrade import upgrade_tables
from .values import encode_text

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

# Dead letters count up to 100,000 only: every relay asks once a second.
_DEPTH = """\
SELECT
    (SELECT count(*) FROM {leases}
        WHERE account = $1 AND leased_until > clock_timestamp()),
    (SELECT count(*) FROM
        (SELECT FROM {dead} WHERE account = $1 LIMIT 100000) AS counted),
    (SELECT extract(epoch FROM clock_timestamp() - created_at) FROM {events}
        WHERE account = $1 ORDER BY account, id LIMIT 1)::float8\
"""

_SETTINGS = """\
SELECT name, current_setting(name)
FROM unnest(ARRAY['fsync', 'synchronous_commit', 'full_page_writes', 'autovacuum'])
    AS listed (name)\
"""

_PROBLEMS = {
    "fsync": (
        "the queue {queue} has fsync=off: a crash of its host loses or damages events;"
        " turn it on"
    ),
    "synchronous_commit": (
        "the queue {queue} has synchronous_commit=off: a crash loses the last events"
        " that it confirmed; turn it on, at least for this user"
    ),
    "full_page_writes": (
        "the queue {queue} has full_page_writes=off: a crash of its host may damage"
        " its tables; turn it on, unless its disk writes pages as a whole"
    ),
    "autovacuum": (
        "the queue {queue} has autovacuum=off: the space of delivered events is not"
        " used again; turn it on"
    ),
}
"""What a setting that is off means."""


def _parse_table(text: str) -> str:
    try:
        return Tables(text).name
    except ValueError as error:
        raise ValueError(str(error).removeprefix("table ")) from None


def _parse_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("is the path of a file")
    return text


class PostgresEngine(QueueEngine):
    """
    Keeps messages in tables of PostgreSQL, version 13 or newer.

    Args:
        url: Server, database and table.
        lease_seconds: Seconds for which a worker has a message to itself.
        clock: Monotonic time in seconds.
    """

    url_options: ClassVar = {
        "table": UrlOption(DEFAULT_TABLE, _parse_table),
        "sslmode": UrlOption(
            "",
            parse_choice(
                "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
            ),
        ),
        "sslrootcert": UrlOption("", _parse_path),
        "sslcert": UrlOption("", _parse_path),
        "sslkey": UrlOption("", _parse_path),
    }
    url_example = "a URL such as postgresql://user@host:5432/database?table=odp_events"

    def __init__(
        self,
        url: QueueUrl,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(url, lease_seconds=lease_seconds)
        _check(url)
        self._clock = clock
        self._tables = Tables(url.get_option("table"))
        self._server = Server(url, self._tables, clock=clock)
        self._counter = Counter(self._server, self._tables, url.alias, clock=clock)
        self._publisher = Publisher(
            self._server, self._tables, url, counter=self._counter, clock=clock
        )
        self._dead_letters = DeadLetters(self._server, self._tables, url.alias)
        self._start_worker()

    @classmethod
    def load(cls) -> None:
        """Import `psycopg`, or raise ImportError."""
        load()

    def _start_worker(self) -> None:
        name = self.build_worker_name()
        self._registry = Registry(
            self._server,
            self._tables,
            alias=self.url.alias,
            name=name,
            clock=self._clock,
        )
        self._leases = Leases(
            self._server,
            self._tables,
            alias=self.url.alias,
            name=name,
            lease_seconds=self.lease_seconds,
            clock=self._clock,
        )

    @property
    def worker(self) -> str:
        """The name of this worker."""
        return self._leases.name

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None = None
    ) -> Mapping[int, PublishFailure]:
        """Insert *messages*, within the high-water mark."""
        return self._publisher.publish(messages, deadline)

    def lease(self, limit: int, wait: float, max_bytes: int) -> Sequence[LeasedMessage]:
        """Lease the oldest messages of customers that no other worker has."""
        return self._leases.lease(limit, wait, max_bytes)

    def renew(self, leased: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Renew leases if it is time, and leave out what other workers took over."""
        return self._leases.renew(leased)

    def release(self, leased: Sequence[LeasedMessage]) -> None:
        """Return *leased* at once, and subtract this delivery."""
        self._leases.release(leased)

    def acknowledge(
        self, done: Sequence[LeasedMessage], dead: Sequence[tuple[LeasedMessage, str]]
    ) -> None:
        """Delete messages and store dead letters, in one statement."""
        self._leases.acknowledge(done, dead)

    def start_pause(self, seconds: float) -> None:
        """Stop all relays of this account from sending for *seconds*."""
        self._registry.start_pause(seconds)

    def read_pause(self) -> float:
        """Return the remaining seconds of a pause."""
        return self._registry.read_pause()

    def limit_pause(self, seconds: float) -> None:
        """Let the pause of this account end after *seconds* at the latest."""
        self._registry.limit_pause(seconds)

    def find_problems(self, deadline: float | None = None) -> Sequence[str]:
        """Return the settings of the server that lose events in a crash."""
        with self._server.connect(deadline):
            settings = self._server.run(_SETTINGS)
        return [
            _PROBLEMS[name].format(queue=self.url.display_url)
            for name, value in settings
            if value == "off"
        ]

    def register_worker(self, seconds: float) -> None:
        """Let this worker count as alive for *seconds*."""
        self._registry.register(seconds)

    def unregister_worker(self) -> None:
        """Remove the registration of this worker."""
        self._registry.unregister()

    def read_depth(self) -> Depth:
        """Return the number of messages, estimated where there are more than 10,000."""
        with self._server.connect():
            total = self._counter.count()
            ((leased, dead, oldest),) = self._server.run(
                _DEPTH.format_map(vars(self._tables)), encode_text(self.url.alias)
            )
        # Two statements see two states, and a large total is an estimate.
        leased = min(leased, total)
        return Depth(total - leased, leased, dead, max(0.0, oldest or 0.0))

    def list_consumers(self) -> Sequence[Consumer]:
        """Return live workers, and ended ones that still hold messages."""
        return self._registry.list_consumers()

    def list_dead_letters(self) -> Sequence[DeadLetter]:
        """Return all dead letters, the oldest first."""
        return self._dead_letters.read_all()

    def retry_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Move *letters* to the end of the queue."""
        self._dead_letters.retry(letters)

    def delete_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Delete *letters*."""
        self._dead_letters.delete(letters)

    @classmethod
    def build_schema(cls, url: QueueUrl) -> str:
        """Return the SQL that creates the tables."""
        return build_schema(Tables(url.get_option("table")))

    @classmethod
    def build_grants(cls, url: QueueUrl, *, producer: str, relay: str) -> str:
        """Return the SQL that gives two roles their rights."""
        tables = Tables(url.get_option("table"))
        return build_grants(tables, producer=producer, relay=relay)

    def apply_schema(self) -> str:
        """Create the tables, or upgrade them in one transaction."""
        return upgrade_tables(self.url, self._tables, clock=self._clock)

    def close(self) -> None:
        """Close the connection; it is opened again when needed."""
        self._server.disconnect()

    def after_fork(self) -> None:
        """Drop the parent's connection unused, and take another name."""
        self._server.detach()
        self._start_worker()


def _check(url: QueueUrl) -> None:
    if url.is_private:
        raise ValueError("its scheme is postgresql; use sslmode=verify-full for TLS")
    if url.variants:
        raise ValueError("its scheme is postgresql, without a + and a driver")
    if "/" in url.path:
        raise ValueError("its path must be the name of a database")
