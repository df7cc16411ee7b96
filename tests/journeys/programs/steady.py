"""Log without end from four threads, until told to stop; print the books.

With a second argument the wall clock jumps an hour back or forth at every tenth event.
"""

import itertools
import json
import sys
import threading
import time

run, jumping = sys.argv[1], sys.argv[2:] == ["jumping"]
HOUR = 3600
jumps = itertools.cycle((-HOUR, 0, HOUR, 0))
offset = 0
real_time, real_time_ns = time.time, time.time_ns
if jumping:
    # Before anybody imports them: what a clock that is set looks like to Python.
    time.time = lambda: real_time() + offset
    time.time_ns = lambda: real_time_ns() + offset * 10**9

import books  # noqa: E402

handler = books.open_handler()
client = handler.client
auditor = books.Auditor(client)
done = threading.Event()
counts = [0, 0, 0, 0]


def busy(lane: int) -> None:
    global offset
    while not done.is_set():
        books.sell(run, lane, counts[lane])
        counts[lane] += 1
        if counts[lane] % 10 == 0:
            offset = next(jumps)
        if counts[lane] == 100:
            print("busy", flush=True)
        if done.wait(0.002):
            return


threads = [threading.Thread(target=busy, args=(lane,)) for lane in range(4)]
for thread in threads:
    thread.start()
sys.stdin.readline()
done.set()
for thread in threads:
    thread.join()
flushed = client.flush(60)
print(json.dumps({**auditor.end(), "counts": counts, "flushed": flushed}))
