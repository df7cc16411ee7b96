"""The number of events of an account, at a cost that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .connection import Server
from .tables import Tables
from .values import quote

_EXACT = 10_000
"""Number of rows up to which they are counted. It takes a few milliseconds."""

_SAMPLES = 100
_SAMPLE_IDS = 100
"""Number of samples, and of ids in each."""

_SLOW_SECONDS = 0.05
_SLOW_FACTOR = 20
"""From which time on counting is slow, and how many times as long its result holds.

Rows that are deleted and not vacuumed yet are read, too. There are many of them while
an old transaction of any application is open.
"""

_COUNT = """\
SELECT count(*) FROM (
    SELECT FROM {events} WHERE account = {account} LIMIT {limit}
) AS counted\
"""

# Ids have few gaps; so a part of them shows how many there are in the others. Without
# OFFSET and the settings, a plan may read all rows for each sample.
_ESTIMATE = """\
SELECT set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true);
WITH ends AS (
    SELECT min(id) AS first, max(id) - min(id) + 1 AS span
    FROM {events} WHERE account = {account}
)
SELECT span, (
    SELECT count(*) FROM generate_series(0, {samples} - 1) AS place
    CROSS JOIN LATERAL (
        SELECT FROM {events} WHERE account = {account}
        AND id >= ends.first + (ends.span - {ids}) * place / ({samples} - 1)
        AND id < ends.first + (ends.span - {ids}) * place / ({samples} - 1) + {ids}
        OFFSET 0
    ) AS found
) FROM ends\
"""


class Counter:
    """
    Counts the events of the account *alias*, leased ones included.

    Up to 10,000 are counted. The number of more is estimated from samples.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        server: Server,
        tables: Tables,
        alias: str,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._server = server
        self._clock = clock
        self._texts = {**vars(tables), "account": quote(alias)}
        self._last = 0
        self._next_count_at = 0.0

    def count(self) -> int:
        """Return the number of events; the last one if counting took long."""
        started_at = self._clock()
        if started_at >= self._next_count_at:
            self._last = self._count()
            elapsed = self._clock() - started_at
            if elapsed > _SLOW_SECONDS:
                self._next_count_at = started_at + elapsed * _SLOW_FACTOR
        return self._last

    def _count(self) -> int:
        (((count,),),) = self._run(_COUNT, limit=_EXACT + 1)
        if count <= _EXACT:
            return int(count)
        _, ((span, found),) = self._run(_ESTIMATE, samples=_SAMPLES, ids=_SAMPLE_IDS)
        estimate = (span or 0) * found // (_SAMPLES * _SAMPLE_IDS)
        return max(_EXACT + 1, int(estimate))

    def _run(self, script: str, **values: int) -> list[list[tuple[Any, ...]]]:
        return self._server.run_script(script.format_map({**self._texts, **values}))
