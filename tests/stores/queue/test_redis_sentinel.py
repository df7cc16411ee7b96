"""The engine for Redis behind Sentinels, with real ones, and a failover under load."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.redis.engine import RedisEngine
from odp_logging.emulator import Emulator

from ...fleet.processes import RelayProcess
from ...redis_server import (
    SERVICE,
    RedisServer,
    Sentinel,
    needs_redis,
    start_sentinels,
)
from ...waiting import until
from ..contract import event
from .contract import build_message
from .redis_stores import KEY, build_store, parse_url, take_numbers

pytestmark = [needs_redis, pytest.mark.slow]


def build_url(sentinels: list[Sentinel], options: str = "", user: str = "") -> str:
    """Return the URL of the master that *sentinels* name."""
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return f"redis+sentinel://{user}{hosts}/{SERVICE}/0?{options}"


def read_numbers(server: RedisServer) -> set[int]:
    """Return the numbers of all events in *server*."""
    entries = server.ask("XRANGE", "odp:events:{0}", "-", "+")
    return {int(fields[b"e"].split(b'"n":')[1].split(b"}")[0]) for _, fields in entries}


class Load:
    """
    Hands over events on a thread, and the same ones again until they are stored.

    Args:
        url: The queue.
    """

    def __init__(self, server: RedisServer, url: str) -> None:
        self.stored: set[int] = set()
        self.problems: list[str] = []
        self._store = build_store(server, url=url)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            numbers = range(number, number + 20)
            try:
                refused = self._store.hand_over([event(n) for n in numbers])
            except QueueError as error:
                self.problems.append(str(error))
                self._stopping.wait(0.05)
                continue
            if not refused:
                self.stored.update(numbers)
                number += 20
        self._store.close()

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more events are stored."""
        total = len(self.stored) + count
        until(lambda: len(self.stored) >= total, "more events")

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def fail_over(servers: list[RedisServer], sentinels: list[Sentinel]) -> None:
    """Kill the master, and wait until the Sentinels name the replica."""
    master, replica = servers
    master.kill()
    until(lambda: all(s.find_master() == replica.port for s in sentinels), "a master")


def test_a_failover_under_load_loses_no_event(tmp_path: Path):
    """Each event that counted as delivered is in the promoted replica."""
    with start_sentinels(tmp_path) as (servers, sentinels):
        master, replica = servers
        url = build_url(sentinels, "replicas=1")
        with Load(master, url) as load:
            load.wait_for_more(2_000)
            fail_over(servers, sentinels)
            master.start()  # becomes the replica of the other one
            load.wait_for_more(2_000)
        found = read_numbers(replica)
        taken = take_numbers(build_store(master, url=url))

    assert len(load.stored) >= 4_000
    assert load.stored <= found
    assert load.problems  # the outage was noticed
    assert taken == list(range(10))


def test_a_relay_delivers_all_events_through_a_failover(
    tmp_path: Path, emulator: Emulator
):
    """What the failover loses are acknowledgements: some events are sent twice."""
    with start_sentinels(tmp_path) as (servers, sentinels):
        master, replica = servers
        url = build_url(sentinels, "replicas=1")
        with (
            RelayProcess(url, emulator, "--lease", "2") as relay,
            Load(master, url) as load,
        ):
            load.wait_for_more(500)
            fail_over(servers, sentinels)
            master.start()
            load.wait_for_more(500)
            load.stop()
            until(lambda: not replica.ask("XLEN", KEY), "an empty queue", seconds=60)
            assert relay.end() == 0, relay.text
    delivered = {entry["event"]["data"]["n"] for entry in emulator.events()}

    assert load.stored <= delivered


def test_an_event_without_a_replica_is_not_delivered(tmp_path: Path):
    """replicas=1: it stays with the application until a replica has confirmed it."""
    with RedisServer(tmp_path / "0") as master:
        store = build_store(master, "replicas=1")
        with pytest.raises(QueueError, match="0 of replicas=1 confirmed them"):
            store.hand_over([event(1)])
        options = ("--replicaof", f"127.0.0.1 {master.port}")
        with RedisServer(tmp_path / "1", *options) as replica:

            def is_linked() -> bool:
                link = replica.ask("INFO", "replication")["master_link_status"]
                return bool(link == "up")

            until(is_linked, "the replica")
            assert store.hand_over([event(1)]) == {}


@pytest.mark.parametrize("sentinel_password", [None, "secret"])
def test_passwords_of_redis_and_of_sentinels(
    tmp_path: Path, sentinel_password: str | None
):
    """A Sentinel gets the URL's password only if it asks for one."""
    with start_sentinels(
        tmp_path, password="secret", sentinel_password=sentinel_password
    ) as (_, sentinels):
        engine = RedisEngine(parse_url(build_url(sentinels, user=":secret@")))
        assert engine.publish([build_message("u1")]) == {}
        engine.close()
        wrong = RedisEngine(parse_url(build_url(sentinels, user=":S3cret@")))
        with pytest.raises(QueueError, match="refuses the user or password") as caught:
            wrong.read_depth()

    assert "S3cret" not in str(caught.value)


def test_sentinels_that_do_not_know_the_master_are_reported(tmp_path: Path):
    """And so are Sentinels that are down."""
    with start_sentinels(tmp_path) as (_, sentinels):
        url = build_url(sentinels).replace(SERVICE, "other")
        with pytest.raises(QueueError, match="has no master that its Sentinels know"):
            RedisEngine(parse_url(url)).read_depth()
        for sentinel in sentinels[:2]:
            sentinel.kill()
        assert RedisEngine(parse_url(build_url(sentinels))).read_depth().ready == 0
    with pytest.raises(QueueError, match="refused the connection"):
        RedisEngine(parse_url(build_url(sentinels))).read_depth()


@pytest.mark.parametrize("path", ["", "/", "/mymaster/x"])
def test_a_url_without_the_name_of_a_master_is_refused(path: str):
    """The message shows the form."""
    url = parse_url(f"redis+sentinel://127.0.0.1:1{path}")
    with pytest.raises(ValueError, match=r"redis.sentinel://host1,host2/mymaster/0"):
        RedisEngine(url)
