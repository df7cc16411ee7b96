"""Code that runs in a new interpreter."""

from __future__ import annotations

import os
import subprocess
import sys


def run_code(code: str) -> list[str]:
    """
    Return the words that a new interpreter prints when it runs *code*.

    Without `site`, because an installed package may load modules there.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
