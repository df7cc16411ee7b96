"""Sub-interpreters: a worker of InterpreterPoolExecutor, mod_wsgi, uWSGI."""

from __future__ import annotations

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, get_numbers

pytestmark = pytest.mark.slow


def test_a_subinterpreter(python: Python, odp: Emulator) -> None:
    """A sub-interpreter delivers while it runs, and its last events before it ends."""
    if python.minor < (3, 12):
        pytest.skip("there _xxsubinterpreters ends none that has had a thread")
    ended = python.run("interpreters.py", odp.url)

    assert (ended.status, ended.out, ended.err) == (0, "20 True\n", "")
    assert get_numbers(odp) == list(range(25))
