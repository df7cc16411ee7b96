"""Log in a signal handler a thousand times a second, while five threads log."""

import itertools
import signal
import sys
import threading

import shop

shop.open_at(sys.argv[1], flush_interval=0.05, max_queue_size=100_000)
EVENTS_PER_THREAD = 1000
alarms: list[int] = []
numbers = itertools.count(1)
MAX_DEPTH = 10
depth = 0


def on_alarm(signum: int, frame: object) -> None:
    global depth
    # One alarm may interrupt another. On a busy machine 50 within each other exhaust
    # the stack, and no log call can capture anything then.
    if depth >= MAX_DEPTH:
        return
    depth += 1
    number = next(numbers)  # atomic
    alarms.append(number)
    shop.sell(-number, source="")
    depth -= 1


def busy(first: int) -> None:
    for number in range(first, first + EVENTS_PER_THREAD):
        shop.sell(number)


firsts = [number * EVENTS_PER_THREAD for number in range(5)]
threads = [threading.Thread(target=busy, args=(first,)) for first in firsts[1:]]
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for thread in threads:
    thread.start()
busy(firsts[0])
shop.wait_until(lambda: len(alarms) >= 200)
for thread in threads:
    thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
