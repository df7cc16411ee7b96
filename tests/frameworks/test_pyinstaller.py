"""A program that PyInstaller made: it has what is loaded by name, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import odp_logging
from odp_logging.emulator import Emulator

from ..redis_server import RedisServer, needs_redis

pytestmark = pytest.mark.slow

PROGRAM = """
import logging, sys
from odp_logging import OdpHandler
handler = OdpHandler(queue_url=sys.argv[1] or None, handle_sigterm=False)
logging.getLogger().addHandler(handler)
logging.warning("sold", extra={"odp_action": "sold", "odp_identifiers": {"email": "a"}})
print(handler.client.flush(30), handler.client.stats.delivered)
"""


# Optional parts of redis and others find them here, and a build would take a minute.
LEFT_OUT = (
    *("IPython", "celery", "django", "eventlet", "fastapi", "flask", "gevent"),
    *("hypothesis", "opentelemetry", "optimizely", "prometheus_client", "pydantic"),
    *("pytest", "rich", "selenium", "sentry_sdk", "setuptools", "trio"),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, made once: a build takes 10 s."""
    pytest.importorskip("PyInstaller")
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "shop.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "-y"]
    places = ["--paths", str(Path(odp_logging.__file__).parents[1])]
    others = [f"--exclude-module={name}" for name in LEFT_OUT]
    done = subprocess.run(
        [*command, *places, *others, "shop.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return folder / "dist" / "shop" / "shop"


def run(program: Path, queue: str, **environ: str) -> str:
    """Return what the program prints."""
    done = subprocess.run(
        [program, queue], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_redis
def test_it_finds_the_engine_of_its_queue(program: Path, tmp_path: Path) -> None:
    """An event goes to the queue that queue_url names."""
    with RedisServer(tmp_path) as redis:
        assert run(program, redis.url) == "True 1\n"


def test_it_sends_to_odp(program: Path, odp: Emulator) -> None:
    """An event goes to ODP, and nothing that sending needs is missing."""
    environ = {"ODP_API_KEY": "k", "ODP_API_HOST": odp.url}

    assert run(program, "", **environ) == "True 1\n"
    assert odp.stats()["unique"] == 1
