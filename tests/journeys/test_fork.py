"""Each event is delivered exactly once, by the process that logged it."""

from __future__ import annotations

import signal

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, get_numbers

pytestmark = pytest.mark.slow


def test_silent_fork(python: Python, odp: Emulator) -> None:
    """After a fork that ran no hooks, events are delivered."""
    ended = python.run("fork_in_c.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert get_numbers(odp) == [0, 1, 2]


@pytest.mark.parametrize("thread", ["main", "another"])
def test_sigterm_just_after_a_fork(python: Python, odp: Emulator, thread: str) -> None:
    """SIGTERM ends each of 20 new children, whichever thread forked them."""
    ended = python.run("terminate_new_children.py", odp.url, thread)

    assert (ended.status, ended.err) == (0, "")
    assert ended.numbers == [0]
    assert get_numbers(odp) == [0]


def test_pools_end(python: Python, odp: Emulator) -> None:
    """A pool that ends while its workers are replaced does not hang."""
    ended = python.run("pool_end.py", odp.url, "30")

    assert (ended.status, ended.err) == (0, "")
    assert ended.numbers == [1] * 30


def test_a_fork_within_a_fork(python: Python, odp: Emulator) -> None:
    """A signal handler that forks during a fork leaves nothing locked or blocked."""
    ended = python.run("fork_in_fork.py", odp.url)

    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert get_numbers(odp) == [0, 1, 2, 3]


@pytest.mark.parametrize("background", ["true", "false"])
def test_forks_within_log_calls(python: Python, odp: Emulator, background: str) -> None:
    """A signal handler forks within log calls: each event arrives once."""
    ended = python.run("fork_in_handler.py", odp.url, background)

    assert (ended.status, ended.err) == (0, "")
    children = [100_000 + 10 * child + n for child in range(10) for n in range(3)]
    assert get_numbers(odp) == [*range(*ended.numbers), *children]


def test_a_child_leaves_the_request_under_way_to_its_parent(
    python: Python, odp: Emulator
) -> None:
    """A child that returns from a signal handler into a request abandons it."""
    odp.fault(latency=1.0, count=1)
    ended = python.run("fork_in_request.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert get_numbers(odp) == [0, 1]


def test_terminated_processes(python: Python, odp: Emulator) -> None:
    """A terminated process delivers its events if signal handlers run in it."""
    ended = python.run("terminated.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert ended.numbers == [-signal.SIGTERM, -signal.SIGTERM]
    # No signal handler runs in a child forked by a thread other than the main one.
    assert get_numbers(odp) == ([0] if python.minor >= (3, 13) else [0, 1])
