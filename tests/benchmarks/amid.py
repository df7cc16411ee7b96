"""Times calls amid other work: a sleep and a little computing before each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import quantiles

PAUSE_SECONDS = 0.001
BLOCK = 250
"""Calls in a row of one subject; two batches of the default size are sent meanwhile."""

_COMPUTED = 1_000


@dataclass(slots=True)
class Subject:
    """
    What is called.

    Args:
        call: Makes one call.
        begin: Prepares a turn, for example puts a handler on the root logger.
        end: Ends a turn; nothing of it is left when the next subject begins.
        times: Nanoseconds of each call so far.
    """

    call: Callable[[], object]
    begin: Callable[[], object] = lambda: None
    end: Callable[[], object] = lambda: None
    times: list[int] = field(default_factory=list)

    def read_percentile(self, percent: int) -> float:
        """Return, in microseconds, what *percent* of the calls did not exceed."""
        return quantiles(self.times, n=100)[percent - 1] / 1000


def take_turns(subjects: list[Subject], calls: int, *, block: int = BLOCK) -> None:
    """Time *calls* of each of *subjects*, in alternating blocks; the first is left out.

    Args:
        calls: A multiple of *block*.
        block: Calls in a row of one subject.
    """
    for turn in range(-1, calls // block):
        for subject in subjects:
            subject.begin()
            times = time_calls(subject.call, block)
            subject.end()
            if turn >= 0:
                subject.times += times


def time_calls(call: Callable[[], object], count: int) -> list[int]:
    """Return what each of *count* calls took, in nanoseconds by the clock."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        time.sleep(PAUSE_SECONDS)
        sum(number * number for number in range(_COMPUTED))
        began = clock()
        call()
        times.append(clock() - began)
    return times
