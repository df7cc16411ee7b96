"""Flask: its development server, with and without the reloader, and gunicorn."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..journeys.pythons import get_numbers
from .conftest import Serve
from .servers import accepted

pytestmark = pytest.mark.slow

FLASK = "flask --app flask_shop"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run(serve: Serve, odp: Emulator, number: signal.Signals) -> None:
    """The development server delivers when it is stopped."""
    server = serve(f"{FLASK} run --port {{port}}")
    server.buy(1, 2, 3)
    server.stop(number)

    assert get_numbers(odp) == [1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_reload(serve: Serve, odp: Emulator, number: signal.Signals) -> None:
    """In debug mode too, when a file changes and when the process is stopped."""
    server = serve(f"{FLASK} run --debug --port {{port}}")
    pid = server.get("/buy/1")
    pid = server.reload("flask_shop.py", pid)

    assert get_numbers(odp) == [1]
    server.buy(2, 3)
    os.kill(pid, number)  # its parent ends with it
    assert server.ended().status == 0
    assert get_numbers(odp) == [1, 2, 3]


def test_killed_by_its_reloader(serve: Serve, odp: Emulator, tmp_path: Path) -> None:
    """The reloader kills its child at SIGTERM; with a spool, nothing is lost."""
    kept = {"spool": tmp_path / "spool", "durability": "crash"}
    server = serve(f"{FLASK} run --debug --port {{port}}", **kept)
    server.buy(1, 2, 3)
    server.stop()
    serve(f"{FLASK} run --port {{port}}", **kept)

    assert odp.wait_for(3)
    assert accepted(odp) == [1, 2, 3]


def test_gunicorn(serve: Serve, odp: Emulator) -> None:
    """Under gunicorn, and no user is taken for the one that a thread served before."""
    server = serve(
        "gunicorn --bind 127.0.0.1:{port} --workers 2 --threads 4 flask_shop:app"
    )
    paths = [f"/buy/{n}?user=u{n}" if n % 3 else f"/buy/{n}" for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(server.get, paths))
    server.stop()

    assert get_numbers(odp) == [*range(60)]
    for each in odp.events():
        number = each["event"]["data"]["n"]
        user = {"fs_user_id": f"u{number}"} if number % 3 else {}
        assert each["event"]["identifiers"] == {"vuid": "v1"} | user
