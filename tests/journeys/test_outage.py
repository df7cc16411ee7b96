"""An hour of failures: few lines, which add up, and stats that explain every event."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from odp_logging import OdpClient, OdpEvent, OdpHandler
from odp_logging.emulator import Emulator

from .ledgers import Books

pytestmark = pytest.mark.slow

KEY = "W4WzcEs-ABgXorzY7h1LCQ"
MINUTE = 60.0
EACH_SECOND = 5
MORE = re.compile(r" \((\d+) more of this kind since the last line\)$")

# Words by which a reader knows what a line is about; each line has those of one kind.
KINDS = {
    "passing": "next attempt in",
    "configuration": "one probe is sent",
    "overflow": "the buffer is full",
    "no_identifiers": "event rejected: no identifiers",
    "bad_data": "event rejected: odp_data must be",
    "identify": "identify needs two identifiers",
    "rejected": "ODP rejected",
    "callback": "a callback raised",
}


class Hour:
    """A clock that is turned by hand, and the lines that were written by it."""

    def __init__(self) -> None:
        # From now on, for a transport compares a deadline with the time that it is.
        self.now = time.monotonic()
        self.lines: list[tuple[float, str]] = []

    def __call__(self) -> float:
        return self.now

    def listen(self, record: logging.LogRecord) -> bool:
        """Note a line of the library's; pass it on."""
        self.lines.append((self.now, record.getMessage()))
        return True

    def times(self, kind: str) -> list[float]:
        """When lines of *kind* were written."""
        return [when for when, line in self.lines if KINDS[kind] in line]

    def total(self, kind: str) -> int:
        """How often it happened by what the lines say."""
        told = [line for _, line in self.lines if KINDS[kind] in line]
        return len(told) + sum(int(n) for line in told for n in MORE.findall(line))


class Shop:
    """Logs what a shop logs, some of it wrong, and counts it."""

    def __init__(self, logger: logging.Logger, client: OdpClient) -> None:
        self.logged = 0
        self._logger = logger
        self._client = client

    def go_on(self) -> None:
        """Make one log call, of one kind or another."""
        self.logged += 1
        number = self.logged
        if number % 70 == 0:
            self.identify()
        elif number % 50 == 0:
            self.sell(identifiers={})
        elif number % 60 == 0:
            self.sell(data=["private", "payload"])
        else:
            bad = " poison" if number % 90 == 0 else ""
            self.sell(data={"card": f"private payload {number}{bad}"})

    def sell(self, **fields: object) -> None:
        """Log one sale."""
        person = {"email": f"private-{self.logged}@example.com"}
        named = {"identifiers": person, **fields}
        extra = {f"odp_{name}": value for name, value in named.items()}
        self._logger.info("sold", extra={"odp_action": "sold", **extra})

    def identify(self) -> None:
        """Identify somebody by too little."""
        self._client.identify({"email": f"private-{self.logged}@example.com"})


@pytest.fixture
def hour() -> Iterator[Hour]:
    """A clock, to which the library's logger listens."""
    made = Hour()
    logger = logging.getLogger("odp_logging")
    logger.addFilter(made.listen)
    yield made
    logger.removeFilter(made.listen)


def test_an_hour_of_failures(hour: Hour, logger: logging.Logger) -> None:
    """18,000 log calls: a line a kind a minute; lines and stats account for all."""
    calls: list[tuple[int, str]] = []

    def on_drop(events: Sequence[OdpEvent], reason: str) -> None:
        calls.append((len(events), reason))
        raise ValueError("private payload of the application")

    with Emulator(key=KEY) as odp, Books(odp) as books:
        client = OdpClient(
            KEY,
            api_host=odp.url,
            background=False,  # each log call looks whether it is time to try again
            max_queue_size=500,
            on_drop=on_drop,
            handle_sigterm=False,
            shutdown_timeout=1,
        )
        # A client takes no clock, but its parts do.
        client._diagnostics._clock = hour
        client._flusher._clock = hour
        logger.addHandler(OdpHandler(client=client))
        shop = Shop(logger, client)

        def pass_ten_minutes() -> None:
            for _ in range(int(10 * MINUTE * EACH_SECOND)):
                hour.now += 1 / EACH_SECOND
                shop.go_on()

        def is_down() -> None:
            odp.stop()
            pass_ten_minutes()
            odp.start()

        def fails(**fault: object) -> None:
            odp.fault(**fault)
            pass_ten_minutes()
            odp.clear_faults()

        is_down()
        fails(match="poison")
        fails(status=503)
        fails(status=403)
        fails(drop="after")
        fails(status=429, retry_after=30)

        # Back again: what was held back is told with the next line of each kind.
        hour.now += 2 * MINUTE
        odp.fault(match="poison")
        assert client.flush(30)
        hour.now += 2 * MINUTE
        shop.identify()
        shop.sell(data={"card": "poison"})
        shop.sell(identifiers={})
        shop.sell(data=["private", "payload"])
        logged = shop.logged + 4
        assert client.flush(30)
        stats = client.stats
        client.close()

    # At most one line a minute, each of a kind that is known, and nothing private.
    for when, line in hour.lines:
        assert sum(words in line for words in KINDS.values()) == 1, line
        assert not re.search(r"private|payload|@example|poison|sold \d", line), line
        assert KEY not in line and KEY[-6:] not in line, when
    for kind in KINDS:
        times = hour.times(kind)
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert 0 < len(times) <= 64, kind
        assert min(gaps, default=MINUTE) >= MINUTE - 1e-6, kind

    # What was not written is counted in what was.
    rejected = stats.rejected
    assert hour.total("no_identifiers") == rejected["no_identifiers"] > 20
    assert hour.total("bad_data") == rejected["bad_data"] > 20
    assert hour.total("identify") == rejected["identify"] == logged // 70 + 1
    assert hour.total("callback") == len(calls) > 50

    # And the stats explain every log call, as the server's books do.
    gone = sum(rejected.values()) + sum(stats.dropped.values())
    assert stats.accepted == logged == stats.delivered + gone
    assert stats.pending == 0
    assert stats.dropped.keys() == {"overflow"}
    # (Of a batch whose answer was lost, one may be refused that was taken before.)
    assert len(books.accepted - books.rejected) == stats.delivered
    assert len(books.rejected) == rejected["refused"]
    assert (books.missed, books.strangers, books.twice) == (0, [], [])
    told = Counter[str]()
    for count, reason in calls:
        told[reason.partition(":")[0]] += count
    assert told["rejected"] == rejected["refused"]
    assert 0.9 * stats.dropped["overflow"] < told["overflow"]
    assert told["overflow"] <= stats.dropped["overflow"]
