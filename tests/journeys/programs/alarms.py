"""Log in the handler of a 1 ms timer, while four threads log and ODP fails."""

import itertools
import json
import signal
import sys
import threading

import books

run, each, least = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handler = books.open_handler()
client = handler.client
auditor = books.Auditor(client)
numbers = itertools.count()
alarms: list[int] = []


def on_alarm(signum: int, frame: object) -> None:
    number = next(numbers)  # in one step: the next alarm may come within this one
    books.sell(run, "alarm", number)
    alarms.append(number)
    auditor.look()


def busy(lane: int) -> None:
    for number in range(each):
        books.sell(run, lane, number)


threads = [threading.Thread(target=busy, args=(lane,)) for lane in (1, 2, 3)]
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for thread in threads:
    thread.start()
busy(0)
while len(alarms) < least:
    auditor.look()
for thread in threads:
    thread.join()
flushed = client.flush(60)  # the timer goes on: it interrupts the wait as well
signal.setitimer(signal.ITIMER_REAL, 0)
flushed = client.flush(60) and flushed
said = {**auditor.end(), "counts": [each] * 4, "flushed": flushed}
print(json.dumps({**said, "alarms": len(alarms)}))
