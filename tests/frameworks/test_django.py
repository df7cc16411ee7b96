"""Django: its LOGGING setting, its development server, and gunicorn."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..journeys.pythons import get_numbers
from .conftest import Serve
from .servers import Server, accepted

pytestmark = pytest.mark.slow

DJANGO = {"DJANGO_SETTINGS_MODULE": "django_shop.settings"}
RUNSERVER = "django runserver {port}"
GUNICORN = "gunicorn --bind 127.0.0.1:{port} --workers 2 django_shop.wsgi"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_runserver(serve: Serve, odp: Emulator, number: signal.Signals) -> None:
    """Without its reloader, the server delivers when it is stopped."""
    server = serve(f"{RUNSERVER} --noreload", **DJANGO)
    server.buy(1, 2, 3)
    server.stop(number)

    assert get_numbers(odp) == [1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_reload(serve: Serve, odp: Emulator, number: signal.Signals) -> None:
    """A changed file starts another process, after the one before has delivered."""
    server = serve(RUNSERVER, **DJANGO)
    pid = server.get("/buy/1")
    pid = server.reload("django_shop/urls.py", pid)

    assert get_numbers(odp) == [1]
    server.buy(2, 3)
    os.kill(pid, number)  # its parent ends with it
    assert server.ended().status == 0
    assert get_numbers(odp) == [1, 2, 3]


@pytest.mark.parametrize("stop", [Server.terminate, Server.interrupt])
def test_killed_by_its_reloader(
    serve: Serve, odp: Emulator, tmp_path: Path, stop: Callable[[Server], None]
) -> None:
    """The reloader kills its child when it is stopped; with a spool, nothing is lost.

    At once at SIGTERM, 0.25 s after Ctrl-C: in the middle of a request, perhaps.
    """
    kept = {"spool": tmp_path / "spool", "durability": "crash"}
    server = serve(RUNSERVER, **DJANGO, **kept)
    server.buy(1, 2, 3)
    stop(server)
    server.ended()
    serve(RUNSERVER, **DJANGO, **kept)

    assert odp.wait_for(3)
    assert accepted(odp) == [1, 2, 3]


@pytest.mark.parametrize("preload", ["", "--preload"])
def test_gunicorn(serve: Serve, odp: Emulator, preload: str) -> None:
    """Under gunicorn, also where LOGGING disables the loggers that exist."""
    server = serve(f"{GUNICORN} {preload}", **DJANGO, SHOP_DISABLES="1")
    server.buy(*range(6))
    server.stop()

    assert get_numbers(odp) == [*range(6)]


@pytest.mark.parametrize("command", [f"{RUNSERVER} --noreload", GUNICORN])
def test_users_of_streams(serve: Serve, odp: Emulator, command: str) -> None:
    """A response that streams binds in its generator; the next one is nobody's."""
    server = serve(command.replace("--workers 2", "--workers 1"), **DJANGO)
    for number in range(0, 20, 2):
        server.get(f"/stream/{number}?user=u{number}")
        server.buy(number + 1)
    server.stop()

    assert get_numbers(odp) == [*range(20)]
    for each in odp.events():
        number = each["event"]["data"]["n"]
        user = {} if number % 2 else {"fs_user_id": f"u{number}"}
        assert each["event"]["identifiers"] == {"vuid": "v1"} | user


def test_users(serve: Serve, odp: Emulator) -> None:
    """What a middleware binds for one request is in no other one's events."""
    server = serve(f"{GUNICORN} --workers 1 --threads 4", **DJANGO)
    paths = [f"/buy/{n}?user=u{n}" if n % 3 else f"/buy/{n}" for n in range(60)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(server.get, [f"/together/{n}?user=u{n}" for n in (1, 2, 4, 5)]))
        list(pool.map(server.get, paths[6:]))
    server.stop()

    assert get_numbers(odp) == [1, 2, 4, 5, *range(6, 60)]
    for each in odp.events():
        number = each["event"]["data"]["n"]
        user = {"fs_user_id": f"u{number}"} if number % 3 else {}
        assert each["event"]["identifiers"] == {"vuid": "v1"} | user
