"""
Fuzz a target, guided by coverage.

    python -m tests.hostile.fuzz mapping --seconds 60

Needs atheris (``pip install atheris``). What reaches new code is added to the seeds; an
input that breaks a promise is added as well, and its traceback shown.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import odp_logging

from .targets import TARGETS

HERE = Path(__file__).parent
PACKAGE = str(Path(odp_logging.__file__).parent)
MAX_INPUT = 2048

Arc = tuple[str, int, int]


def main() -> int:
    """Run one target for a while, then keep what was new."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    seeds = HERE / "seeds" / given.target
    with tempfile.TemporaryDirectory() as found:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.hostile.fuzz.engine", given.target),
                *(found, str(seeds), f"-dict={HERE / 'words'}"),
                *(f"-max_total_time={given.seconds}", f"-max_len={MAX_INPUT}"),
                *("-timeout=20", "-rss_limit_mb=3000", "-len_control=0"),
                "-print_final_stats=1",
                f"-artifact_prefix={seeds}/broken-",
            ],
            check=False,
        )
        kept = keep(given.target, seeds, Path(found))
    print(f"{kept} new seeds in {seeds}")
    return ended.returncode


def keep(target: str, seeds: Path, found: Path) -> int:
    """Add to *seeds* what takes a way through the code that none of them takes."""
    known: set[Arc] = set()
    for seed in seeds.iterdir():
        known |= arcs(target, seed.read_bytes())
    count = 0
    for path in sorted(found.iterdir(), key=lambda each: each.stat().st_size):
        data = path.read_bytes()
        fresh = arcs(target, data) - known
        if fresh:
            known |= fresh
            count += 1
            (seeds / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return count


def arcs(target: str, data: bytes) -> set[Arc]:
    """Return the steps from line to line that *data* takes within the package."""
    taken: set[Arc] = set()

    def trace(frame: object, event: str, argument: object) -> object:
        code = frame.f_code  # type: ignore[attr-defined]
        if not code.co_filename.startswith(PACKAGE):
            return None
        last = 0

        def step(frame: object, event: str, argument: object) -> object:
            nonlocal last
            line = frame.f_lineno  # type: ignore[attr-defined]
            taken.add((code.co_filename, last, line))
            last = line
            return step

        return step

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        TARGETS[target](data)
    except BaseException:  # whoever replays it will see
        pass
    finally:
        sys.settrace(None)
    return taken


if __name__ == "__main__":
    sys.exit(main())
