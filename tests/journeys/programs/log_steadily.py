"""Log from four threads until stdin has a line; print the counts.

With the argument "jumping", the wall clock jumps by an hour at every tenth event.
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
    # Replaced before any module imports them, as if the clock had been set.
    time.time = lambda: real_time() + offset
    time.time_ns = lambda: real_time_ns() + offset * 10**9

import audited_shop  # noqa: E402

handler = audited_shop.open_handler()
client = handler.client
auditor = audited_shop.Auditor(client)
done = threading.Event()
counts = [0, 0, 0, 0]


def busy(source: int) -> None:
    global offset
    while not done.is_set():
        audited_shop.sell(run, source, counts[source])
        counts[source] += 1
        if counts[source] % 10 == 0:
            offset = next(jumps)
        if counts[source] == 100:
            print("busy", flush=True)
        if done.wait(0.002):
            return


threads = [threading.Thread(target=busy, args=(source,)) for source in range(4)]
for thread in threads:
    thread.start()
sys.stdin.readline()
done.set()
for thread in threads:
    thread.join()
flushed = client.flush(60)
print(json.dumps({**auditor.end(), "counts": counts, "flushed": flushed}))
