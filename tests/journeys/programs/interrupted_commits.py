"""Log with a signal handler that raises amid commits, while other threads log.

Argument: the number of threads that log beside the main one. Prints the ids of the
events whose log calls returned.
"""

import itertools
import random
import signal
import sys
import threading
import time

import audited_shop


class TimeLimit(BaseException):
    """Not an Exception, so that the interrupted log call lets it pass."""


def raise_time_limit(*ignored: object) -> None:
    global armed
    if armed:
        armed = False
        raise TimeLimit


threads = int(sys.argv[1])
client = audited_shop.open_handler().client
returned: list[str] = []
done = threading.Event()
armed = False
signal.signal(signal.SIGALRM, raise_time_limit)
delays = random.Random(7)
numbers = itertools.count(1)


def sell(source: int, number: int) -> None:
    audited_shop.sell("r", source, number)
    returned.append(f"r-{source}-{number}")


def busy(source: int) -> None:
    number = 0
    while not done.is_set() and time.monotonic() < end + 60:
        number += 1
        sell(source, number)


def sell_until_interrupted() -> None:
    # A separate function: 3.13 does not catch an exception raised at `while` itself.
    global armed
    armed = True
    signal.setitimer(signal.ITIMER_REAL, delays.uniform(0.0001, 0.001))
    while armed:
        sell(0, next(numbers))


sell(0, 0)
assert client.flush(10)  # the flusher thread runs now: its start is not interrupted
end = time.monotonic() + 2
running = [
    threading.Thread(target=busy, args=(source,)) for source in range(1, threads + 1)
]
for thread in running:
    thread.start()
interrupted = 0
while time.monotonic() < end:
    try:
        sell_until_interrupted()
    except TimeLimit:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
done.set()
for thread in running:
    thread.join(60)
assert client.flush(30)
stats = client.stats
assert interrupted > 50
assert audited_shop.is_balanced(stats)
assert stats.spooled == stats.pending == 0
assert stats.delivered >= len(returned)
print(*returned)
