"""During an hour of failures, few lines and the stats account for every event."""

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

from .ledger_follower import LedgerFollower

pytestmark = pytest.mark.slow

KEY = "W4WzcEs-ABgXorzY7h1LCQ"
MINUTE = 60.0
CALLS_PER_SECOND = 5
MORE = re.compile(r" \((\d+) more of this kind since the last line\)$")

# Words that identify the kind of a line. Each line contains those of one kind.
KINDS = {
    "passing": "next attempt in",
    "configuration": "one probe is sent",
    "overflow": "the buffer is full",
    "no_identifiers": "event rejected: no identifiers",
    "bad_data": "event rejected: odp_data must be",
    "identify": "identify needs two identifiers",
    "rejected": "ODP rejected",
    "recovered": "answers again",
    "callback": "delivery continues. Fix the function",
}


class FakeClock:
    """A clock that the test advances, and the log lines written at its times."""

    def __init__(self) -> None:
        # Starts at the real time: a transport compares deadlines with the real clock.
        self.now = time.monotonic()
        self.lines: list[tuple[float, str]] = []

    def __call__(self) -> float:
        return self.now

    def listen(self, record: logging.LogRecord) -> bool:
        """Record a line of the library, and let it pass."""
        self.lines.append((self.now, record.getMessage()))
        return True

    def get_times(self, kind: str) -> list[float]:
        """Return the times at which lines of *kind* were written."""
        return [when for when, line in self.lines if KINDS[kind] in line]

    def count(self, kind: str) -> int:
        """Return the number of occurrences that the lines of *kind* account for."""
        lines = [line for _, line in self.lines if KINDS[kind] in line]
        return len(lines) + sum(int(n) for line in lines for n in MORE.findall(line))


class Shop:
    """A shop that logs valid and invalid events, and counts its log calls."""

    def __init__(self, logger: logging.Logger, client: OdpClient) -> None:
        self.logged = 0
        self._logger = logger
        self._client = client

    def log_next(self) -> None:
        """Make the next log call; its number selects the kind."""
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
        """Call identify with too few identifiers."""
        self._client.identify({"email": f"private-{self.logged}@example.com"})


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that records the lines of the library's logger."""
    clock = FakeClock()
    logger = logging.getLogger("odp_logging")
    logger.addFilter(clock.listen)
    yield clock
    logger.removeFilter(clock.listen)


def test_an_hour_of_failures(clock: FakeClock, logger: logging.Logger) -> None:
    """For 18,000 log calls: one line per kind and minute, which account for all."""
    calls: list[tuple[int, str]] = []

    def on_drop(events: Sequence[OdpEvent], reason: str) -> None:
        calls.append((len(events), reason))
        raise ValueError("private payload of the application")

    with Emulator(key=KEY) as odp, LedgerFollower(odp) as follower:
        client = OdpClient(
            KEY,
            api_host=odp.url,
            background=False,  # each log call checks whether a retry is due
            max_queue_size=500,
            on_drop=on_drop,
            handle_sigterm=False,
            shutdown_timeout=1,
        )
        # A client takes no clock argument, but its parts do.
        client._diagnostics._clock = clock
        flusher = client._destinations.flusher
        for part in (flusher, flusher._dispatcher, flusher._inline):
            part._clock = clock
        logger.addHandler(OdpHandler(client=client))
        shop = Shop(logger, client)

        def log_for_ten_minutes() -> None:
            for _ in range(int(10 * MINUTE * CALLS_PER_SECOND)):
                clock.now += 1 / CALLS_PER_SECOND
                shop.log_next()

        def run_outage() -> None:
            odp.stop()
            log_for_ten_minutes()
            odp.start()

        def run_fault(**fault: object) -> None:
            odp.fault(**fault)
            log_for_ten_minutes()
            odp.clear_faults()

        run_outage()
        run_fault(match="poison")
        run_fault(status=503)
        run_fault(status=403)
        run_fault(drop="after")
        run_fault(status=429, retry_after=30)

        # ODP is back. The next line of each kind reports the suppressed lines.
        clock.now += 2 * MINUTE
        odp.fault(match="poison")
        assert client.flush(30)
        clock.now += 2 * MINUTE
        shop.identify()
        shop.sell(data={"card": "poison"})
        shop.sell(identifiers={})
        shop.sell(data=["private", "payload"])
        assert client.flush(30)
        # on_drop heard of all four: its next line reports three suppressed ones.
        clock.now += 2 * MINUTE
        shop.identify()
        logged = shop.logged + 5
        assert client.flush(30)
        stats = client.stats
        client.close()

    # At most one line a minute, each of a known kind, and no private data.
    for when, line in clock.lines:
        assert sum(words in line for words in KINDS.values()) == 1, line
        assert not re.search(r"private|payload|@example|poison|sold \d", line), line
        assert KEY not in line and KEY[-6:] not in line, when
    for kind in KINDS:
        times = clock.get_times(kind)
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert 0 < len(times) <= 64, kind
        assert min(gaps, default=MINUTE) >= MINUTE - 1e-6, kind

    # Suppressed lines are counted in the written ones.
    rejected = stats.rejected
    assert clock.count("no_identifiers") == rejected["no_identifiers"] > 20
    assert clock.count("bad_data") == rejected["bad_data"] > 20
    assert clock.count("identify") == rejected["identify"] == logged // 70 + 2
    assert clock.count("callback") == len(calls) > 50

    # The stats and the server's ledger account for every log call.
    lost = sum(rejected.values()) + sum(stats.dropped.values())
    assert stats.accepted == logged == stats.delivered + lost
    assert stats.pending == 0
    assert stats.dropped.keys() == {"overflow"}
    # (If an answer was lost, an event accepted before may be rejected the second time.)
    assert len(follower.accepted - follower.rejected) == stats.delivered
    assert len(follower.rejected) == rejected["refused"]
    assert (follower.missed, follower.false_duplicates, follower.repeated) == (
        0,
        [],
        [],
    )
    counts = Counter[str]()
    for count, reason in calls:
        counts[reason.partition(":")[0]] += count
    assert counts["rejected"] == rejected["refused"]
    assert 0.9 * stats.dropped["overflow"] < counts["overflow"]
    assert counts["overflow"] <= stats.dropped["overflow"]
