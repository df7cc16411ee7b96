"""What the engine for Redis reports when a server fails or refuses."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.redis import connection
from odp_logging._stores.queue.redis.engine import RedisEngine
from odp_logging._stores.queue.store import QueueStore

from ...redis_server import needs_redis
from .contract import ROOM, build_message
from .redis_stores import DEAD_KEY, KEY, build_store, fill_store, parse_url

pytestmark = needs_redis


def publish(url: str, seconds: float = 5.0) -> str:
    """Publish one message; return what is wrong, without the queue's URL."""
    engine = RedisEngine(parse_url(url))
    with pytest.raises(QueueError) as caught:
        engine.publish([build_message("u1")], time.monotonic() + seconds)
    prefix = f"the queue {engine.url.display_url} "
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that accepts connections."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://127.0.0.1:1/0", "refused the connection"),
        ("redis+cluster://127.0.0.1:1/0", "refused the connection"),
        ("redis://h.invalid/0", "has a host name that cannot be resolved"),
        ("redis+cluster://h.invalid/0", "has a host name that cannot be resolved"),
    ],
)
def test_a_server_that_cannot_be_reached_is_reported(url, problem):
    """In words, for one server and for a cluster."""
    assert publish(url) == problem


def test_an_error_of_the_application_is_not_the_reason(listener):
    """An application may log, and hand over, while it handles an error of its own."""
    port = listener.getsockname()[1]
    try:
        raise ConnectionRefusedError("of the application")
    except ConnectionRefusedError:
        problem = publish(f"redis://127.0.0.1:{port}/0", 0.5)

    assert problem.startswith("gave no answer within")


def test_a_server_without_an_answer_is_reported(listener):
    """With the time that the client waited."""
    port = listener.getsockname()[1]

    assert publish(f"redis://127.0.0.1:{port}/0", 1.0) == (
        "gave no answer within 0.625 s"
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "closed the connection"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "does not speak the protocol of Redis; check host and port",
        ),
    ],
)
def test_a_server_that_is_no_redis_is_reported(listener, answer, problem):
    """Also one that ends the connection at once."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            if answer:
                connection.recv(1000)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        port = listener.getsockname()[1]
        assert publish(f"redis://127.0.0.1:{port}/0") == problem
    finally:
        thread.join(10)


def test_a_key_of_another_type_is_reported_by_its_code(redis):
    """The text of Redis may quote values; the code does not."""
    store = fill_store(redis, 1)
    redis.ask("DEL", KEY)
    redis.ask("SET", KEY, "text")
    with pytest.raises(QueueError, match=r"key of another type .*\(WRONGTYPE\)$"):
        store.engine.publish([build_message("u1")], None)


def test_missing_rights_are_reported(redis):
    """The user of the URL may not read dead letters."""
    redis.ask("ACL", "SETUSER", "shop", "on", ">pw", "+@all", "-xrange", "~*")
    try:
        engine = RedisEngine(parse_url(f"redis://shop:pw@127.0.0.1:{redis.port}/0"))
        with pytest.raises(QueueError, match="this user the command XRANGE"):
            engine.list_dead_letters()
        engine.close()
    finally:
        redis.ask("ACL", "DELUSER", "shop")

    assert build_store(redis).engine.list_dead_letters() == []
    assert redis.ask("EXISTS", DEAD_KEY) == 0


def test_a_worker_that_may_not_register_delivers(redis):
    """It is not counted as alive, which is told; its events are leased as ever."""
    fill_store(redis, 2)
    redis.ask("ACL", "SETUSER", "shop", "on", ">pw", "+@all", "-hset", "~*")
    warnings: list[str] = []
    try:
        engine = RedisEngine(parse_url(f"redis://shop:pw@127.0.0.1:{redis.port}/0"))
        store = QueueStore(engine, warn=lambda kind, text: warnings.append(text))
        assert len(store.take().events) == 2
        store.discard("exit")
        store.close()
    finally:
        redis.ask("ACL", "DELUSER", "shop")

    (warning,) = warnings
    assert "does not permit this user the command HSET" in warning
    assert "`relay status` may not count this worker" in warning


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("NOPERM No permissions to access a key", "a command or key that the library"),
        ("READONLY You can't write against a read only replica.", "is a replica"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "no memory left"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save its data"),
        ("NOAUTH Authentication required.", "refuses the user or password"),
        ("WRONGPASS invalid username-password pair", "refuses the user or password"),
        ("LOADING Redis is loading the dataset in memory", "is still loading"),
        ("MASTERDOWN Link with MASTER is down", "has lost its master"),
        ("CLUSTERDOWN The cluster is down", "is a cluster that is down"),
        ("NOREPLICAS Not enough good replicas to write.", "has fewer replicas than"),
        ("BUSY Redis is busy running a script.", "is busy with a script"),
        ("WRONGTYPE Operation against a key S3cret", "has a key of another type"),
        ("MOVED 3999 127.0.0.1:6381", "is part of a cluster"),
        ("NEWCODE quoting S3cret", "answered with the error NEWCODE"),
        ("ERR value S3cret", "refused a command"),
    ],
)
def test_an_error_is_named_by_its_code_without_its_text(listener, answer, problem):
    """An operator can look it up; the text of Redis may quote values."""
    serving = threading.Thread(target=answer_all, args=(listener, answer))
    serving.start()
    try:
        found = publish(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
    finally:
        serving.join(10)

    assert problem in found
    assert answer.partition(" ")[0] in found or problem == "refused a command"
    assert "S3cret" not in found


def answer_all(listener: socket.socket, answer: str) -> None:
    """Answer each command of the first connection with the error *answer*."""
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(10_000):
            commands = data.count(b"\r\n*") + 1
            try:
                connection.sendall(f"-{answer}\r\n".encode() * commands)
            except OSError:
                return


def drip(listener: socket.socket, start: bytes, stopping: threading.Event) -> None:
    """Answer the first connection with *start*, and then a byte at a time."""
    connection, _ = listener.accept()
    with connection:
        try:
            connection.sendall(start)
            while not stopping.wait(0.05):
                connection.sendall(b"1")
        except OSError:
            pass


@pytest.fixture
def dripping(listener) -> Iterator[Callable[[bytes], str]]:
    """Starts a server that drips after some bytes, and returns its URL."""
    stopping, threads = threading.Event(), []

    def start(first: bytes) -> str:
        thread = threading.Thread(target=drip, args=(listener, first, stopping))
        thread.start()
        threads.append(thread)
        return f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

    yield start
    stopping.set()
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("start", [b"$1000000\r\n", b"+"])
def test_a_server_that_drips_bytes_delays_no_call_beyond_its_deadline(dripping, start):
    """Each byte comes in time, and the answer never ends."""
    begin = time.monotonic()
    problem = publish(dripping(start), 1.0)

    assert problem.startswith("gave no answer within")
    assert time.monotonic() - begin < 3.0


def test_a_server_that_drips_bytes_ends_a_call_without_a_deadline(
    dripping, monkeypatch
):
    """A relay's calls have none; each answer has a limit of its own."""
    monkeypatch.setattr(connection, "_FULL_RESPONSE_SECONDS", 0.5)
    engine = RedisEngine(parse_url(dripping(b"$1000000\r\n")))
    begin = time.monotonic()
    with pytest.raises(QueueError, match="gave no answer within"):
        engine.lease(10, 0.0, ROOM)

    assert time.monotonic() - begin < 3.0
