"""Log in a signal handler, a thousand times a second, while five threads log."""

import itertools
import signal
import sys
import threading

import shop

shop.open_at(sys.argv[1], flush_interval=0.05, max_queue_size=100_000)
EACH = 1000
alarms: list[int] = []
numbers = itertools.count(1)


def on_alarm(signum: int, frame: object) -> None:
    number = next(numbers)  # in one step: one alarm may interrupt another
    alarms.append(number)
    shop.sell(-number, lane="")


def busy(first: int) -> None:
    for number in range(first, first + EACH):
        shop.sell(number)


threads = [threading.Thread(target=busy, args=(k * EACH,)) for k in range(4)]
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for thread in threads:
    thread.start()
busy(4 * EACH)
shop.until(lambda: len(alarms) >= 200)
for thread in threads:
    thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
