"""Programs that are measured: each a fresh interpreter that prints one JSON object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def has_fast() -> bool:
    """Whether the extra ``fast`` is installed."""
    return find_spec("msgspec") is not None


def hide_fast() -> None:
    """Have this program encode with the standard library, whatever is installed."""
    sys.modules["msgspec"] = None  # type: ignore[assignment]


def run(module: str, *arguments: object, limit: float = 300.0) -> Any:
    """
    Return what ``python -m tests.benchmarks.<module> <arguments>`` prints as JSON.

    Args:
        limit: Seconds after which it is killed.

    Raises:
        RuntimeError: It failed; with what it wrote on stderr.
    """
    return run_code(
        ["-m", f"tests.benchmarks.{module}", *map(str, arguments)], limit=limit
    )


def run_code(arguments: list[str], limit: float = 300.0) -> Any:
    """Return what ``python <arguments>`` prints as JSON, as its last line."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=limit,
        cwd=ROOT,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])
