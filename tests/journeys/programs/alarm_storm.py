"""Log in the handler of a 1 ms timer, while four threads log and ODP fails."""

import itertools
import json
import signal
import sys
import threading

import audited_shop

run, count, min_alarms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handler = audited_shop.open_handler()
client = handler.client
auditor = audited_shop.Auditor(client)
numbers = itertools.count()
alarms: list[int] = []
nested: list[int] = []
MAX_NESTED = 20
"""Handlers within handlers. On a loaded machine more of them would fill the stack."""


def on_alarm(signum: int, frame: object) -> None:
    if len(nested) >= MAX_NESTED:
        return
    number = next(numbers)  # atomic: the next alarm may interrupt this one
    nested.append(number)
    try:
        audited_shop.sell(run, "alarm", number)
        alarms.append(number)
        auditor.check()
    finally:
        nested.pop()


def busy(source: int) -> None:
    for number in range(count):
        audited_shop.sell(run, source, number)


threads = [threading.Thread(target=busy, args=(source,)) for source in (1, 2, 3)]
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for thread in threads:
    thread.start()
busy(0)
while len(alarms) < min_alarms:
    auditor.check()
for thread in threads:
    thread.join()
flushed = client.flush(60)  # the timer interrupts this wait, too
signal.setitimer(signal.ITIMER_REAL, 0)
flushed = client.flush(60) and flushed
result = {**auditor.end(), "counts": [count] * 4, "flushed": flushed}
print(json.dumps({**result, "alarms": len(alarms)}))
