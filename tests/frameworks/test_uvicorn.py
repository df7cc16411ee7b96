"""FastAPI under uvicorn: it raises the signal that ended it again, past atexit."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..journeys.pythons import get_numbers
from .conftest import Serve
from .servers import Server

pytestmark = pytest.mark.slow

SERVER = "uvicorn fastapi_shop:app --port {port}"
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def log_config(tmp_path: Path) -> Path:
    """A file for ``--log-config``."""
    path = tmp_path / "log.json"
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
        "root": {"level": "INFO", "handlers": ["odp"]},
    }
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("where", ["import", "lifespan"])
def test_stop(serve: Serve, odp: Emulator, number: signal.Signals, where: str) -> None:
    """Wherever logging is configured, what was logged is there after the stop."""
    server = serve(SERVER, SHOP_CONFIGURES=where)
    server.buy(1, 2)
    server.get("/slow/3")
    ended = server.stop(number)

    last, *sold = get_numbers(odp)
    assert last == -server.process.pid
    assert sold == [1, 2, 3]
    if number is signal.SIGTERM:  # and still dies of it
        assert ended.status == -number


@pytest.mark.parametrize("number", SIGNALS)
def test_log_config(
    serve: Serve, odp: Emulator, log_config: Path, number: signal.Signals
) -> None:
    """So it is with a handler that ``--log-config`` made."""
    server = serve(f"{SERVER} --log-config {log_config}", SHOP_CONFIGURES="file")
    server.buy(1, 2, 3)
    server.stop(number)

    last, *sold = get_numbers(odp)
    assert last == -server.process.pid
    assert sold == [1, 2, 3]


@pytest.mark.parametrize(
    ("where", "stop"),
    [
        ("import", Server.terminate),
        ("import", Server.interrupt),
        ("file", Server.terminate),
    ],
)
def test_workers(
    serve: Serve,
    odp: Emulator,
    log_config: Path,
    where: str,
    stop: Callable[[Server], None],
) -> None:
    """Two workers deliver what each of them has, when their parent is stopped."""
    file = f" --log-config {log_config}" if where == "file" else ""
    server = serve(f"{SERVER} --workers 2{file}", SHOP_CONFIGURES=where)
    server.buy(*range(10))
    stop(server)
    server.ended()

    first, second, *sold = get_numbers(odp)
    assert first < second < 0
    assert sold == [*range(10)]


def test_reload(serve: Serve, odp: Emulator) -> None:
    """A reload delivers what was logged before it, and what comes after is new."""
    server = serve(f"{SERVER} --reload --reload-dir {{folder}}")
    server.buy(1, 2)
    pid = server.get("/ready")
    server.reload("fastapi_shop.py", pid)
    server.buy(3)
    server.interrupt()
    server.ended()

    assert [n for n in get_numbers(odp) if n > 0] == [1, 2, 3]


def test_users(serve: Serve, odp: Emulator) -> None:
    """Of requests in the middle of each other, each event has its own user only."""
    server = serve(SERVER)
    together = [f"/together/{n}?count=4&user=u{n}" for n in range(4)]
    in_threads = [
        f"/slow/{n}?user=u{n}" if n % 3 else f"/slow/{n}" for n in range(4, 40)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(server.get, together))
        list(pool.map(server.get, in_threads))
    server.stop()

    _, *sold = get_numbers(odp)
    assert sold == [*range(40)]
    for each in odp.events():
        number = each["event"]["data"]["n"]
        user = {"fs_user_id": f"u{number}"} if 0 <= number < 4 or number % 3 else {}
        assert number < 0 or each["event"]["identifiers"] == {"vuid": "v1"} | user
