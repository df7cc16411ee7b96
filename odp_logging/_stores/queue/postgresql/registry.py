"""The workers that are alive, and the pauses that ODP asked for.

Times are those of the server, because the clocks of the hosts may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..messages import Consumer
from .connection import Server
from .tables import Tables
from .values import encode_text, quote

_REGISTER = """\
SELECT set_config('synchronous_commit', 'off', true);
INSERT INTO {workers} (seen, expires, account, name)
VALUES (clock_timestamp(), clock_timestamp() + interval '{milliseconds} milliseconds',
    {account}, {name})
ON CONFLICT (account, name) DO UPDATE
SET seen = excluded.seen, expires = excluded.expires;
DELETE FROM {workers}
WHERE account = {account} AND expires < clock_timestamp() - interval '1 day';
DELETE FROM {leases} AS lease
WHERE account = {account} AND leased_until < clock_timestamp() - interval '1 day'
AND (
    SELECT id FROM {events} AS event
    WHERE event.account = {account} AND event.id = lease.id LIMIT 1
) IS NULL;
"""
"""Also deletes what killed workers left, and leases of events deleted by hand."""

_UNREGISTER = "DELETE FROM {workers} WHERE account = $1 AND name = $2"

_LIST = """\
SELECT coalesce(workers.name, holders.name), coalesce(held, 0),
    coalesce(extract(epoch FROM clock_timestamp() - seen), 0)::float8,
    coalesce(expires > clock_timestamp(), false)::int
FROM (SELECT * FROM {workers} WHERE account = $1) AS workers
FULL JOIN (
    SELECT worker AS name, count(*) AS held FROM {leases}
    WHERE account = $1 AND worker <> '' GROUP BY worker
) AS holders USING (name)
WHERE expires > clock_timestamp() OR held > 0\
"""

_START_PAUSE = """\
INSERT INTO {pauses} AS pause (paused_until, account)
VALUES (clock_timestamp() + interval '{milliseconds} milliseconds', {account})
ON CONFLICT (account) DO UPDATE
SET paused_until = greatest(pause.paused_until, excluded.paused_until)\
"""

_LIMIT_PAUSE = """\
UPDATE {pauses}
SET paused_until = least(paused_until,
    clock_timestamp() + interval '{milliseconds} milliseconds')
WHERE account = {account}\
"""

# Epochs are subtracted, because a time may be infinite.
_READ_PAUSE = """\
SELECT extract(epoch FROM paused_until)::float8
    - extract(epoch FROM clock_timestamp())::float8
FROM {pauses} WHERE account = $1\
"""


class Registry:
    """
    Registers the worker *name* of the account *alias*, and lists all that are alive.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        server: Server,
        tables: Tables,
        *,
        alias: str,
        name: str,
        clock: Callable[[], float],
    ) -> None:
        self._server = server
        self._clock = clock
        self._name = name
        self._texts = {**vars(tables), "account": quote(alias), "name": quote(name)}
        self._account = encode_text(alias)
        self._next_register_at = 0.0
        self._is_registered = False

    def register(self, seconds: float) -> None:
        """Let this worker count as alive for *seconds*, if it is time to renew that."""
        now = self._clock()
        if self._is_registered and now < self._next_register_at:
            return
        script = _REGISTER.format_map(
            {**self._texts, "milliseconds": int(seconds * 1000)}
        )
        with self._server.connect():
            self._server.run_script(script)
        self._is_registered = True
        # Several times per registration: one that fails can be repeated in time.
        self._next_register_at = now + seconds / 6

    def unregister(self) -> None:
        """Remove this worker, unless it was never registered."""
        if self._is_registered:
            self._is_registered = False
            with self._server.connect():
                self._server.run(
                    _UNREGISTER.format_map(self._texts),
                    self._account,
                    encode_text(self._name),
                )

    def list_consumers(self) -> Sequence[Consumer]:
        """Return live workers, and ended ones that still hold events."""
        with self._server.connect():
            result = self._server.run(_LIST.format_map(self._texts), self._account)
        return [
            Consumer(name, pending, max(0.0, idle), is_alive=bool(is_alive))
            for name, pending, idle, is_alive in result
        ]

    def start_pause(self, seconds: float) -> None:
        """Stop the relays of the account for *seconds*; a longer pause stays."""
        if seconds > 0:
            self._change_pause(_START_PAUSE, seconds)

    def limit_pause(self, seconds: float) -> None:
        """Let a pause of the account end after *seconds* at the latest."""
        self._change_pause(_LIMIT_PAUSE, seconds)

    def _change_pause(self, script: str, seconds: float) -> None:
        milliseconds = int(seconds * 1000)
        with self._server.connect():
            self._server.run_script(
                script.format_map({**self._texts, "milliseconds": milliseconds})
            )

    def read_pause(self) -> float:
        """Return the remaining seconds of a pause."""
        with self._server.connect():
            result = self._server.run(
                _READ_PAUSE.format_map(self._texts), self._account
            )
        return max(0.0, result[0][0]) if result else 0.0
