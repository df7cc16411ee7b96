"""The example of a fleet runs and loses no event."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..redis_server import needs_redis

pytestmark = [needs_redis, pytest.mark.slow]

RUN = Path(__file__).parent.parent.parent / "examples" / "fleet" / "run.py"


def test_the_fleet_loses_no_event():
    """A relay and Redis are killed, and ODP receives every event that was logged."""
    process = subprocess.run(
        [sys.executable, "-W", "error", RUN, "4"],
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    assert "a relay is killed\n" in process.stdout
    assert "Redis is killed\n" in process.stdout
    counts = re.findall(r"logged (\d+), handed over (\d+)", process.stdout)
    total = sum(int(count) for count, _ in counts)
    assert len(counts) == 2
    assert all(logged == handed_over for logged, handed_over in counts)
    assert process.stdout.endswith(f"ODP has {total} of {total}\n")
