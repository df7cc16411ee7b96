"""Another queue needs a store of its own, and nothing else: one as Kafka's would be.

`Log` keeps partitions and one committed offset for each, and a partition belongs to one
consumer at a time: there is no acknowledgement of a single event. It is all that has to
be written for such an engine, and everything else of this library works with it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from odp_logging import OdpClient
from odp_logging._config import load
from odp_logging._relay import Relay
from odp_logging.stores._parcels import (
    Depth,
    Leased,
    Parcel,
    QueueError,
    Refusal,
    shard_of,
)
from odp_logging.stores._shared import Shared

from ..conftest import KEY
from ..waiting import until
from .contract import SharedContract


class Topic:
    """A broker: what Kafka keeps of one topic."""

    def __init__(self, partitions: int) -> None:
        self.logs: list[list[Parcel]] = [[] for _ in range(partitions)]
        self.committed = [0] * partitions
        self.owners: list[object] = [None] * partitions
        self.dead: list[tuple[Parcel, str]] = []
        self.is_up = True
        self.lock = threading.Lock()


class Log(Shared):
    """A store in a topic: the whole of what an engine has to say."""

    def __init__(self, topic: Topic, **shared: Any) -> None:
        self._topic = topic
        super().__init__(**shared)

    def _reset(self) -> None:
        super()._reset()
        self._me = object()  # a forked child is another consumer
        self._offsets: dict[int, int] = {}
        self._finished: dict[int, set[int]] = {}

    def publish(
        self, parcels: Sequence[Parcel], deadline: float | None
    ) -> Mapping[int, Refusal]:
        if not self._topic.is_up:
            raise QueueError("the topic is away")
        with self._topic.lock:
            for parcel in parcels:
                shard = shard_of(parcel.key, len(self._topic.logs))
                self._topic.logs[shard].append(parcel)
        return {}

    def lease(self, limit: int, wait: float) -> Sequence[Leased]:
        found: list[Leased] = []
        with self._topic.lock:
            for shard, log in enumerate(self._topic.logs):
                if self._topic.owners[shard] is None:
                    self._topic.owners[shard] = self._me
                    self._offsets[shard] = self._topic.committed[shard]
                if self._topic.owners[shard] is self._me:
                    first = self._offsets[shard]
                    new = log[first : first + limit - len(found)]
                    found += [Leased(p, shard, first + n) for n, p in enumerate(new)]
                    self._offsets[shard] += len(new)
        if not found and wait:
            self._bell.wait(min(wait, 0.02))
        return found

    def extend(self, leased: Sequence[Leased]) -> Sequence[Leased]:
        return [each for each in leased if self._topic.owners[each.shard] is self._me]

    def finish(
        self, done: Sequence[Leased], dead: Sequence[tuple[Leased, str]]
    ) -> None:
        with self._topic.lock:
            self._topic.dead += [(each.parcel, reason) for each, reason in dead]
            for each in [*done, *(each for each, _ in dead)]:
                finished = self._finished.setdefault(each.shard, set())
                finished.add(each.number)
                while self._topic.committed[each.shard] in finished:
                    self._topic.committed[each.shard] += 1

    def give_back(self, leased: Sequence[Leased]) -> None:
        self.disconnect()

    def depth(self) -> Depth:
        size = sum(map(len, self._topic.logs)) - sum(self._topic.committed)
        return Depth(ready=size, dead=len(self._topic.dead))

    def disconnect(self, *, forked: bool = False) -> None:
        with self._topic.lock:
            mine = [n for n, who in enumerate(self._topic.owners) if who is self._me]
            for shard in mine if not forked else ():
                self._topic.owners[shard] = None


class TestContract(SharedContract):
    @pytest.fixture(autouse=True)
    def _topic(self) -> None:
        self.topic = Topic(partitions=3)

    def make(self) -> Log:
        """Return a consumer and producer of the topic."""
        return Log(self.topic, batch_size=10)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    """A topic at ``log://localhost``; its module stands in `stores`, no more is new."""
    made = Topic(partitions=3)
    module: Any = ModuleType("odp_logging.stores.log")
    module.__spec__ = ModuleSpec(module.__name__, None)
    module.load = lambda: None
    module.Stream = lambda url, **shared: Log(made, alias=url.alias, **shared)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield made


def test_a_client_and_a_relay_need_no_more_than_the_store(topic, emulator):
    """A queue_url of its scheme is all that an application and a relay change."""
    with OdpClient(queue_url="log://localhost", handle_sigterm=False) as client:
        for n in range(250):
            client.send_odp_event("sold", {"fs_user_id": f"u{n}"}, data={"n": n})
        assert client.flush(10)
        stats = client.stats
    config = load(
        {"api_key": KEY, "api_host": emulator.url, "queue_url": "log://localhost"},
        warn=lambda kind, message: None,
    )
    relay = Relay(config.queue_url, config, config.destination(), workers=2)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        assert emulator.wait_for(250, 20)
        until(lambda: sum(topic.committed) == 250, "the last offsets")
    finally:
        relay.stop()
        thread.join(20)

    assert not thread.is_alive()
    assert stats.delivered == 250
    sent = [each["event"]["data"]["n"] for each in emulator.events()]
    assert sorted(sent) == list(range(250))


def test_an_outage_of_the_queue_is_the_buffers(topic, emulator):
    """What the topic does not take waits in memory, counted, and goes when it is up."""
    topic.is_up = False
    with OdpClient(queue_url="log://localhost", handle_sigterm=False) as client:
        client.send_odp_event("sold", {"fs_user_id": "u1"})
        assert not client.flush(0.5)
        down = client.stats
        topic.is_up = True
        assert client.flush(10)

    assert (down.pending, down.delivered) == (1, 0)
    assert "the topic is away" in (down.last_error or "")
    assert client.stats.delivered == 1
