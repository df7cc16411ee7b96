"""Log with a signal handler that raises amid log calls, as a time limit does."""

import random
import signal
import sys
import time

import shop


class TimeLimit(Exception):
    pass


def raise_time_limit(*ignored: object) -> None:
    global armed
    if armed:
        armed = False
        raise TimeLimit


handler = shop.open_at(sys.argv[1], shutdown_timeout=5)
armed = False
signal.signal(signal.SIGALRM, raise_time_limit)
delays = random.Random(7)
number = 100
shop.sell(99)
assert handler.client.flush(
    10
)  # the flusher thread runs now: its start is not interrupted


def sell_until_interrupted() -> None:
    global armed, number
    armed = True
    signal.setitimer(signal.ITIMER_REAL, delays.uniform(0.0001, 0.001))
    while armed:  # an exception within emit() does not reach this loop
        number += 1
        shop.sell(number)


end = time.monotonic() + 1
while time.monotonic() < end:
    try:
        sell_until_interrupted()
    except TimeLimit:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
assert handler.client.flush(30)
for number in range(10):
    shop.sell(number)
print(number + 1)
