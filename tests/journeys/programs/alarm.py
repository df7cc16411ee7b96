"""Log in a signal handler, a thousand times a second, while five threads log."""

import signal
import sys
import threading

import shop

handler = shop.open_at(sys.argv[1], flush_interval=0.05, max_queue_size=100_000)
EACH = 2000
alarms = []


def on_alarm(signum: int, frame: object) -> None:
    alarms.append(None)
    shop.sell(-len(alarms))


def busy(first: int) -> None:
    for number in range(first, first + EACH):
        shop.sell(number)


threads = [threading.Thread(target=busy, args=(k * EACH,)) for k in range(4)]
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for thread in threads:
    thread.start()
busy(4 * EACH)
while len(alarms) < 200:
    handler.client.stats  # noqa: B018
for thread in threads:
    thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
print(5 * EACH + len(alarms))
