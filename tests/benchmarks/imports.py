"""Outcome 6: what an import costs, and a configured handler, beyond `import logging`.

Each figure is the median of fresh processes that take turns. The clock runs within the
process, from the end of ``import logging`` to the end of what is measured. They start
with ``-S``, so that no ``.pth`` file has loaded anything before, and read bytecode from
a directory that a first round has filled, as an installed package does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from statistics import median

from .figures import Figure
from .programs import ROOT

ROUNDS = 21

REQUESTS = "import requests"
PACKAGE = "import odp_logging"
PYTEST = "import pytest"
PLUGIN = "import odp_logging.pytest_plugin"
HANDLER = """
from odp_logging import OdpHandler
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler(api_key="k", api_host="http://127.0.0.1:9"))
"""
FIRST_CALL = """
logger.info("purchase", extra={
    "odp_action": "purchased",
    "odp_identifiers": {"fs_user_id": "u-1042", "email": "ada@example.com"},
    "odp_data": {"item": "shirt", "price": 50.0},
})
"""

_LOGGING = "import time; began = time.perf_counter()\nimport logging\n"
_TOLD = "\nprint(time.perf_counter() - began, flush=True); os._exit(0)"
_BEYOND = f"import os\n{_LOGGING}began = time.perf_counter()\n%s{_TOLD}"
_BASE = f"import os\n{_LOGGING}{_TOLD}"
_PLUGIN_ALONE = _BEYOND % f"{PYTEST}\nbegan = time.perf_counter()\n{PLUGIN}"
_CALL_ALONE = _BEYOND % f"{HANDLER}began = time.perf_counter(){FIRST_CALL}"


def measure() -> list[Figure]:
    """Return the figures of outcome 6."""
    programs = [_BEYOND % each for each in (REQUESTS, PACKAGE, HANDLER)]
    programs += [_BEYOND % f"{HANDLER}{FIRST_CALL}", _CALL_ALONE, _BASE]
    programs += [_BEYOND % PYTEST, _PLUGIN_ALONE]
    found = [1000 * each for each in seconds(programs)]
    requests, package, handler, logged, call, base, pytest, plugin = found
    against = "import requests"
    return [
        Figure(6, "import odp_logging", package, "ms", requests, against, 0.094),
        Figure(6, "the same and a handler", handler, "ms", requests, against, 1.5),
        Figure(6, "the same and a first log call", logged, "ms", requests, against),
        Figure(6, "that first log call alone", call, "ms", requests, against),
        Figure(6, "import logging, not part of the above", base, "ms"),
        Figure(
            6,
            "what the pytest plugin adds to each run",
            plugin,
            "ms",
            pytest,
            "import pytest",
            10,
            absolute=True,
        ),
    ]


def requests_import(rounds: int = 11) -> float:
    """Return the seconds that ``import requests`` takes beyond ``import logging``."""
    return seconds([_BEYOND % REQUESTS], rounds)[0]


def seconds(programs: Sequence[str], rounds: int = ROUNDS) -> list[float]:
    """Return the median of what each of *programs* prints, run in turns."""
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
        for program in programs:
            _run(program, environment)
        turns = [[_run(each, environment) for each in programs] for _ in range(rounds)]
    return [median(each) for each in zip(*turns)]


def _run(program: str, environment: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    return float(done.stdout)
