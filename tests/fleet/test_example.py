"""The example of a fleet runs, and what it prints is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..redis_server import needs_redis

pytestmark = [needs_redis, pytest.mark.slow]

RUN = Path(__file__).parent.parent.parent / "examples" / "fleet" / "run.py"


def test_the_fleet_loses_nothing():
    """A relay and Redis are killed, and ODP has all that the shops logged."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", RUN, "4"],
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "a relay is killed\n" in ended.stdout
    assert "Redis is killed\n" in ended.stdout
    said = re.findall(r"logged (\d+), handed over (\d+)", ended.stdout)
    logged = sum(int(count) for count, _ in said)
    assert len(said) == 2 and all(one == two for one, two in said)
    assert ended.stdout.endswith(f"ODP has {logged} of {logged}\n")
