"""An engine as one for Kafka would be: what its author writes, and that it is enough.

A topic has partitions, each with one committed offset and one consumer at a time. It
cannot acknowledge a single message.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from odp_logging import OdpClient
from odp_logging._cli.main import main
from odp_logging._config.load import load
from odp_logging._config.queue_url import QueueUrl
from odp_logging._events.delivery import Delivery
from odp_logging._flusher.relay import Relay
from odp_logging._runtime.secret import Secret
from odp_logging._stores.queue.base import LEASE_SECONDS, QueueEngine
from odp_logging._stores.queue.messages import (
    DeadLetter,
    Depth,
    LeasedMessage,
    PublishFailure,
    QueueError,
    QueueMessage,
    choose_shard,
)
from odp_logging._stores.queue.store import QueueStore

from ...conftest import KEY
from ...waiting import until
from ..contract import DEEP, QueueStoreContract, event, numbers
from .contract import QueueEngineContract


class Topic:
    """What a broker keeps of one topic."""

    def __init__(self, partitions: int) -> None:
        self.logs: list[list[QueueMessage]] = [[] for _ in range(partitions)]
        self.committed = [0] * partitions
        self.owners: list[object] = [None] * partitions
        self.dead: list[DeadLetter] = []
        self.is_up = True
        self.lock = threading.Lock()

    def append(self, message: QueueMessage) -> None:
        """Store *message* in the partition of its key. Caller holds self.lock."""
        self.logs[choose_shard(message.key, len(self.logs))].append(message)


class LogEngine(QueueEngine):
    """An engine over a topic, where a commit covers all messages before it."""

    def __init__(
        self,
        url: QueueUrl,
        topic: Topic,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        super().__init__(url, lease_seconds=lease_seconds)
        self._topic = topic
        self._start()

    def _start(self) -> None:
        self._consumer = object()
        self._offsets: dict[int, int] = {}
        self._finished: dict[int, set[int]] = {}

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None
    ) -> Mapping[int, PublishFailure]:
        if not self._topic.is_up:
            raise QueueError("the topic is down")
        with self._topic.lock:
            for message in messages:
                self._topic.append(message)
        return {}

    def lease(self, limit: int, wait: float, max_bytes: int) -> Sequence[LeasedMessage]:
        found: list[LeasedMessage] = []
        with self._topic.lock:
            for partition in range(len(self._topic.logs)):
                while len(found) < limit and (more := self._read(partition, max_bytes)):
                    found += more
                    max_bytes -= len(more[0].message.body)
        if not found and wait:
            threading.Event().wait(min(wait, 0.02))
        return found

    def _read(self, partition: int, max_bytes: int) -> list[LeasedMessage]:
        """Lease one message, unless all bytes are taken."""
        if self._topic.owners[partition] is None:
            self._topic.owners[partition] = self._consumer
            self._offsets[partition] = self._topic.committed[partition]
        if self._topic.owners[partition] is not self._consumer or max_bytes <= 0:
            return []
        first = self._offsets[partition]
        messages = self._topic.logs[partition][first : first + 1]
        self._offsets[partition] += len(messages)
        return [
            LeasedMessage(message, partition, first + index)
            for index, message in enumerate(messages)
        ]

    def renew(self, leased: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        owners = self._topic.owners
        return [
            message for message in leased if owners[message.shard] is self._consumer
        ]

    def acknowledge(
        self, done: Sequence[LeasedMessage], dead: Sequence[tuple[LeasedMessage, str]]
    ) -> None:
        with self._topic.lock:
            for message, reason in dead:
                self._topic.dead.append(self._build_dead_letter(message, reason))
            for message in [*done, *(message for message, _ in dead)]:
                finished = self._finished.setdefault(message.shard, set())
                finished.add(message.entry_id)
                while self._topic.committed[message.shard] in finished:
                    self._topic.committed[message.shard] += 1

    def _build_dead_letter(self, leased: LeasedMessage, reason: str) -> DeadLetter:
        name = f"{leased.shard}.{leased.entry_id}"
        return DeadLetter(
            name, leased.message, reason, leased.deliveries, name, time.time()
        )

    def release(self, leased: Sequence[LeasedMessage]) -> None:
        self.close()

    def read_depth(self) -> Depth:
        size = sum(map(len, self._topic.logs)) - sum(self._topic.committed)
        return Depth(ready=size, dead=len(self._topic.dead))

    def list_dead_letters(self) -> Sequence[DeadLetter]:
        return list(self._topic.dead)

    def retry_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        with self._topic.lock:
            for letter in letters:
                self._topic.append(letter.message)
                self._topic.dead.remove(letter)

    def delete_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        with self._topic.lock:
            for letter in letters:
                self._topic.dead.remove(letter)

    def close(self) -> None:
        with self._topic.lock:
            for partition, owner in enumerate(self._topic.owners):
                if owner is self._consumer:
                    self._topic.owners[partition] = None

    def after_fork(self) -> None:
        self._start()


URL = QueueUrl("log", (), False, (("localhost", None),), "", Secret((None, None)))


def build_store(topic: Topic) -> QueueStore:
    """Return a store in *topic* with batches of ten events."""
    return QueueStore(LogEngine(URL, topic), batch_size=10)


class TestContract(QueueStoreContract, QueueEngineContract):
    @pytest.fixture(autouse=True)
    def _topic(self) -> None:
        self.topic = Topic(partitions=3)

    def make_engine(self) -> LogEngine:
        """Return an engine over the topic of this test."""
        return LogEngine(URL, self.topic)

    def make(self) -> QueueStore:
        """Return a store in the topic of this test."""
        return build_store(self.topic)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    """A topic whose engine is found by ``log://localhost``."""
    topic = Topic(partitions=3)
    module: Any = ModuleType("odp_logging._stores.queue.log")
    module.__spec__ = ModuleSpec(module.__name__, None)

    class Engine(LogEngine):
        def __init__(self, url: QueueUrl, **settings: Any) -> None:
            super().__init__(url, topic, **settings)

    module.Engine = Engine
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield topic


def test_an_engine_without_a_method_cannot_be_built():
    """Every method that client, relay and commands need is abstract."""

    class Unfinished(QueueEngine):
        pass

    unfinished: Any = Unfinished
    with pytest.raises(TypeError) as caught:
        unfinished(URL)
    for name in ("lease", "list_dead_letters", "publish", "read_depth"):
        assert name in str(caught.value)


def test_a_client_and_a_relay_need_only_the_engine(topic, emulator):
    """An application and a relay change only the queue_url."""
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
    sent = [entry["event"]["data"]["n"] for entry in emulator.events()]
    assert sorted(sent) == list(range(250))


def test_commands_work_with_every_engine(topic, capsys):
    """`relay status` and `dead` call no method that only one engine has."""
    store = build_store(topic)
    store.hand_over([event(number) for number in range(3)])
    store.settle(store.take(), Delivery(3, rejected={0: "no", 1: "no"}))
    store.close()
    where = ["--from", "log://localhost"]
    statuses = [main(["relay", "status", *where])]
    statuses.append(main(["dead", "list", *where]))
    (first, second) = store.engine.list_dead_letters()
    statuses.append(main(["dead", "show", first.id, *where]))
    statuses.append(main(["dead", "retry", first.id, *where]))
    statuses.append(main(["dead", "drop", second.id, *where]))
    output = capsys.readouterr().out

    assert statuses == [0] * 5
    assert "0 events ready, 0 leased, 2 dead letters, 0 workers" in output
    assert "1 dead letter retried\n1 dead letter dropped\n" in output
    assert topic.dead == []
    assert numbers(build_store(topic).take().events) == [0]


def test_events_wait_in_memory_while_the_queue_is_down(topic, emulator):
    """They are counted as pending, and delivered when it is up again."""
    topic.is_up = False
    with OdpClient(queue_url="log://localhost", handle_sigterm=False) as client:
        client.send_odp_event("sold", {"fs_user_id": "u1"})
        assert not client.flush(0.5)
        down = client.stats
        topic.is_up = True
        assert client.flush(10)

    assert (down.pending, down.delivered) == (1, 0)
    assert "the topic is down" in (down.last_error or "")
    assert client.stats.delivered == 1


def test_a_message_nested_too_deeply_is_the_only_dead_letter(topic):
    """The parser of the standard library cannot read it; the others are sent."""
    store, log = build_store(topic), topic.logs[0]
    for number in range(10):
        body = DEEP if number == 3 else event(number).json
        log.append(QueueMessage(b"", body, "default"))
    found = store.take()
    store.settle(found, Delivery(len(found.events)))

    assert numbers(found.events) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert store.counts().rejected == {"unreadable": 1}
    assert [letter.message.body for letter in topic.dead] == [DEEP]
    assert topic.committed[0] == 10
