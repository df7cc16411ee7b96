"""Have a signal handler raise in the middle of log calls, as a time limit does."""

import random
import signal
import sys
import time

import shop


class TimeLimit(Exception):
    pass


def out_of_time(*ignored: object) -> None:
    global armed
    if armed:
        armed = False
        raise TimeLimit


handler = shop.open_at(sys.argv[1], shutdown_timeout=5)
armed = False
signal.signal(signal.SIGALRM, out_of_time)
chance = random.Random(7)
number = 100
shop.sell(99)
assert handler.client.flush(10)  # the thread runs: Python's own start is no target


def sell_until_time_is_out() -> None:
    global armed, number
    armed = True
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.001))
    while armed:  # what is raised within emit() is not passed on
        number += 1
        shop.sell(number)


end = time.monotonic() + 1
while time.monotonic() < end:
    try:
        sell_until_time_is_out()
    except TimeLimit:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
assert handler.client.flush(30)
for number in range(10):
    shop.sell(number)
print(number + 1)
