"""gunicorn: a master that forks its workers, stops, replaces and reloads them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from odp_logging.emulator import Emulator

from ..journeys.pythons import get_numbers
from .conftest import Serve
from .servers import Server, accepted

pytestmark = pytest.mark.slow

SERVER = "gunicorn --bind 127.0.0.1:{port} --workers 2"


def senders(odp: Emulator) -> Counter[int]:
    """Return how many events each process sent."""
    return Counter(each["event"]["data"]["pid"] for each in odp.events())


def ask_both(server: Server) -> tuple[set[int], list[int]]:
    """Have events logged until both workers did; return who they are, and which."""
    workers: set[int] = set()
    sold: list[int] = []
    while len(workers) < 2:
        sold.append(len(sold) + 1)
        assert len(sold) < 500
        workers.add(server.get(f"/buy/{sold[-1]}"))
    return workers, sold


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_preload(serve: Serve, odp: Emulator, number: signal.Signals) -> None:
    """The event of the import is the master's alone, the others are their workers'."""
    server = serve(f"{SERVER} --preload wsgi_shop:app", SHOP_OPENS="1")
    workers, sold = ask_both(server)
    ended = server.stop(number)

    assert get_numbers(odp) == [0, *sold]
    assert senders(odp)[server.process.pid] == 1
    assert {*senders(odp)} == {server.process.pid, *workers}
    assert ended.status == 0


def test_preload_sends_in_time(serve: Serve, odp: Emulator) -> None:
    """The master has a thread of its own, and so has each worker: none waits for it."""
    server = serve(
        f"{SERVER} --preload wsgi_shop:app", SHOP_OPENS="1", flush_interval=0.1
    )
    _, sold = ask_both(server)

    assert odp.wait_for(len(sold) + 1)
    server.stop()
    assert get_numbers(odp) == [0, *sold]


@pytest.mark.parametrize("preload", ["", "--preload"])
def test_reload(serve: Serve, odp: Emulator, preload: str) -> None:
    """HUP replaces the workers, and those deliver what they have."""
    server = serve(f"{SERVER} {preload} wsgi_shop:app")
    workers, sold = ask_both(server)
    server.send(signal.SIGHUP)
    after = server.wait_for_another(*workers)
    server.buy(1001, 1002, 1003)
    server.stop()

    assert after not in workers
    assert get_numbers(odp) == [*sold, 1001, 1002, 1003]


def test_a_killed_worker(serve: Serve, odp: Emulator, tmp_path: Path) -> None:
    """With a spool, the worker that replaces a killed one delivers what it had."""
    server = serve(
        f"{SERVER} --preload wsgi_shop:app",
        spool=tmp_path / "spool",
        durability="crash",
    )
    killed = server.get("/buy/1")
    os.kill(killed, signal.SIGKILL)
    server.buy(2, 3)
    server.stop()

    assert odp.wait_for(3)
    assert get_numbers(odp) == [1, 2, 3]


def test_a_hanging_worker(serve: Serve, odp: Emulator) -> None:
    """A worker that gunicorn gives up on delivers what it had."""
    server = serve(f"{SERVER} --timeout 1 wsgi_shop:app")
    # Its versions answer 500, or nothing.
    with suppress(requests.ConnectionError), pytest.raises(AssertionError):
        server.get("/hang/1")

    assert odp.wait_for(1)
    server.buy(2)
    server.stop()
    assert get_numbers(odp) == [1, 2]


@pytest.mark.parametrize("preload", ["", "--preload"])
def test_logconfig_dict(serve: Serve, odp: Emulator, preload: str) -> None:
    """gunicorn configures logging and the application does again: nothing is lost."""
    server = serve(
        f"{SERVER} {preload} --config {{folder}}/gunicorn_conf.py wsgi_shop:app",
        SHOP_OPENS="1",
    )
    _, sold = ask_both(server)
    server.stop()

    opened = [0] if preload else [0, 0]
    assert accepted(odp) == [*opened, *sold]
    assert odp.stats()["duplicates"] == 0


def test_max_requests(serve: Serve, odp: Emulator) -> None:
    """Workers that end after some requests have delivered."""
    server = serve(f"{SERVER} --max-requests 3 wsgi_shop:app")
    server.buy(*range(12))
    server.stop()

    assert get_numbers(odp) == [*range(12)]
    assert len(senders(odp)) > 2


def test_threads(serve: Serve, odp: Emulator) -> None:
    """So have those with threads."""
    server = serve(f"{SERVER} --threads 2 --preload wsgi_shop:app", SHOP_OPENS="1")
    server.buy(*range(1, 6))
    server.stop()

    assert get_numbers(odp) == [*range(6)]


@pytest.mark.skipif(
    find_spec("uvicorn.workers") is None, reason="uvicorn gave its workers up"
)
@pytest.mark.parametrize("preload", ["", "--preload"])
def test_uvicorn_worker(serve: Serve, odp: Emulator, preload: str) -> None:
    """And so have uvicorn's workers under gunicorn, which raise the signal again."""
    server = serve(
        f"{SERVER} {preload} -k uvicorn.workers.UvicornWorker fastapi_shop:app"
    )
    server.buy(*range(5))
    server.stop()

    assert [n for n in get_numbers(odp) if n >= 0] == [*range(5)]


def test_gevent(serve: Serve, odp: Emulator) -> None:
    """A slow ODP holds up no request, though gevent patches after --preload."""
    pytest.importorskip("gevent")
    odp.fault(latency=8)
    server = serve(
        "gunicorn --bind 127.0.0.1:{port} --workers 1 --worker-class gevent --preload"
        " wsgi_shop:app",
        flush_interval=0.1,
    )
    slowest = 0.0
    for number in range(1, 11):
        start = time.monotonic()
        server.buy(number)
        slowest = max(slowest, time.monotonic() - start)
    odp.clear_faults()

    assert slowest < 4
    assert odp.wait_for(10, timeout=30)
    server.stop()
    assert get_numbers(odp) == list(range(1, 11))
