"""Have a signal handler raise in the middle of commits, while other threads log.

Argument: how many threads log beside the main one. Prints the ids of the events whose
log calls returned.
"""

import itertools
import random
import signal
import sys
import threading
import time

import books


class TimeLimit(BaseException):
    """Not an Exception: it leaves the log call it interrupts."""


def out_of_time(*ignored: object) -> None:
    global armed
    if armed:
        armed = False
        raise TimeLimit


threads = int(sys.argv[1])
client = books.open_handler().client
returned: list[str] = []
done = threading.Event()
armed = False
signal.signal(signal.SIGALRM, out_of_time)
chance = random.Random(7)
numbers = itertools.count(1)


def sell(lane: int, number: int) -> None:
    books.sell("r", lane, number)
    returned.append(f"r-{lane}-{number}")


def busy(lane: int) -> None:
    number = 0
    while not done.is_set() and time.monotonic() < end + 60:
        number += 1
        sell(lane, number)


def sell_until_out_of_time() -> None:
    # A function of its own: 3.13 does not catch what is raised at a `while` itself.
    global armed
    armed = True
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.001))
    while armed:
        sell(0, next(numbers))


sell(0, 0)
assert client.flush(10)  # the thread runs: Python's own start is no target
end = time.monotonic() + 2
running = [
    threading.Thread(target=busy, args=(lane,)) for lane in range(1, threads + 1)
]
for thread in running:
    thread.start()
interrupted = 0
while time.monotonic() < end:
    try:
        sell_until_out_of_time()
    except TimeLimit:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
done.set()
for thread in running:
    thread.join(60)
assert client.flush(30)
stats = client.stats
assert interrupted > 50
assert books.balanced(stats)
assert stats.spooled == stats.pending == 0
assert stats.delivered >= len(returned)
print(*returned)
