"""Every Python block of examples/outbox/README.md does what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ...conftest import KEY
from ...postgresql import PostgresServer, needs_postgresql
from ...repo.test_readme import find_blocks
from .conftest import list_bodies, list_orders

pytest.importorskip("psycopg")
pytest.importorskip("sqlalchemy")
pytest.importorskip("django")

pytestmark = needs_postgresql

BLOCKS = find_blocks("outbox", "python")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_writes_its_event(
    number: int, server: PostgresServer, emulator: Emulator, tmp_path: Path
) -> None:
    """The order and its event are committed, and nothing is sent to ODP."""
    run = subprocess.run(
        # A program may leave the connections of SQLAlchemy's pool open.
        [
            *(sys.executable, "-W", "error", "-W", "ignore::ResourceWarning"),
            *("-c", BLOCKS[number]),
        ],
        env={
            **os.environ,
            "ODP_API_KEY": KEY,
            "ODP_API_HOST": emulator.url,
            "DATABASE": f"host=127.0.0.1 port={server.port} user=postgres",
            "DATABASE_URL": "postgresql+psycopg://postgres@127.0.0.1:"
            f"{server.port}/postgres",
            "PORT": str(server.port),
        },
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert len(list_orders(server)) == 1
    assert [body["action"] for body in list_bodies(server)] == ["purchased"]
    assert emulator.events() == []


def test_the_page_has_a_block_for_each_library() -> None:
    """psycopg, SQLAlchemy, Django and asyncio."""
    assert len(BLOCKS) == 4
