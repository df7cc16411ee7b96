"""Hooks of the interpreter: which are installed in which process."""

from __future__ import annotations

import os

from odp_logging._runtime import process
from odp_logging._runtime.hooks import enter_process


def test_a_process_without_process_library() -> None:
    """Entering a process that `multiprocessing` did not start registers nothing."""
    hooked = process.state.hooked_pid
    enter_process()

    assert process.state.hooked_pid == hooked != os.getpid()
