"""The table that keeps dead letters, for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..base import MAX_BODY_BYTES
from ..messages import DeadLetter, QueueError, QueueMessage
from .connection import Server
from .tables import Tables
from .values import encode_int, encode_int_array, encode_text

_PAGE_SIZE = 1_000
_PAGE_BYTES = MAX_BODY_BYTES
"""
Dead letters of one statement, and bytes of their bodies after which it ends.

The body of a larger one is not read; it is kept.
"""

_BEGIN = """\
BEGIN;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_sort = off;
"""
"""Reads a page by the index; else, without statistics, all letters for each page."""

_LIST = """\
SELECT id, event_id, version,
    CASE WHEN octet_length(body) <= $4 THEN body ELSE '' END, reason, deliveries,
    extract(epoch FROM dead_since)::float8
FROM (
    SELECT *, sum(octet_length(body)) OVER (ORDER BY id) AS total,
        row_number() OVER (ORDER BY id) AS place
    FROM (
        SELECT * FROM {dead} WHERE account = $1 AND id > $2
        ORDER BY account, id LIMIT $3
    ) AS page
) AS summed
WHERE total <= $4 OR place = 1 ORDER BY id\
"""

_RETRY = """\
WITH removed AS (
    DELETE FROM {dead} WHERE account = $1 AND id = ANY($2) AND id BETWEEN $3 AND $4
    RETURNING id, key, version, body
)
INSERT INTO {events} (account, key, version, body)
SELECT $1, key, version, body FROM removed ORDER BY id\
"""

_DELETE = """\
DELETE FROM {dead} WHERE account = $1 AND id = ANY($2) AND id BETWEEN $3 AND $4\
"""


class DeadLetters:
    """The dead letters of the account *alias*."""

    def __init__(self, server: Server, tables: Tables, alias: str) -> None:
        self._server = server
        self._names = vars(tables)
        self._alias = alias
        self._account = encode_text(alias)

    def read_all(self) -> Sequence[DeadLetter]:
        """Return all dead letters, the oldest first."""
        # Not all in one call: its time limit holds for the whole result.
        letters: list[DeadLetter] = []
        last = 0
        while True:
            with self._server.connect():
                self._server.run_script(_BEGIN)
                page = [*self._read_page(last)]
                self._server.run_script("COMMIT")
            if not page:
                return sorted(letters, key=lambda letter: letter.dead_since)
            letters += page
            last = int(page[-1].id)

    def _read_page(self, last: int) -> Iterator[DeadLetter]:
        result = self._server.run(
            _LIST.format_map(self._names),
            self._account,
            encode_int(last),
            encode_int(_PAGE_SIZE),
            encode_int(_PAGE_BYTES),
        )
        for id_, event_id, version, body, reason, deliveries, dead_since in result:
            message = QueueMessage(b"", body, self._alias, version)
            yield DeadLetter(
                str(id_), message, reason, deliveries, str(event_id), dead_since
            )

    def retry(self, letters: Sequence[DeadLetter]) -> None:
        """Move *letters* to the end of the queue."""
        self._change(_RETRY, letters)

    def delete(self, letters: Sequence[DeadLetter]) -> None:
        """Delete *letters*."""
        self._change(_DELETE, letters)

    def _change(self, statement: str, letters: Sequence[DeadLetter]) -> None:
        # As in `read_all`: the time limit of one call would end a large one each time.
        done = 0
        for page in _split(letters):
            ids = [int(letter.id) for letter in page]
            try:
                with self._server.connect():
                    self._server.run(
                        statement.format_map(self._names),
                        self._account,
                        encode_int_array(ids),
                        # Without them, and without statistics of the table, all of it
                        # is read: a second for each million letters.
                        encode_int(min(ids)),
                        encode_int(max(ids)),
                    )
            except QueueError as error:
                if not done:
                    raise
                raise QueueError(
                    f"{error}. At least {done:,} of {len(letters):,} dead letters are"
                    " done; repeat the command for the others"
                ) from None
            done += len(page)


def _split(letters: Sequence[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    """Yield *letters* in pages, by number and bytes, in their order."""
    start = size = 0
    for index, letter in enumerate(letters):
        size += len(letter.message.body)
        if index > start and (index - start == _PAGE_SIZE or size > _PAGE_BYTES):
            yield letters[start:index]
            start, size = index, len(letter.message.body)
    if letters:
        yield letters[start:]
