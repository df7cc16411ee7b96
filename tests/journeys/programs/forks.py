"""Fork 64 children while four threads log and ODP fails; print the parent's books."""

import json
import os
import sys
import threading

import books

run, children, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handler = books.open_handler()
client = handler.client
auditor = books.Auditor(client)
done = threading.Event()
counts = [0, 0, 0, 0]


def busy(lane: int) -> None:
    while not done.is_set():
        books.sell(run, lane, counts[lane])
        counts[lane] += 1
        if done.wait(0.001):
            return


threads = [threading.Thread(target=busy, args=(lane,)) for lane in range(4)]
for thread in threads:
    thread.start()
started = []
for child in range(children):
    pid = os.fork()
    if pid == 0:
        for number in range(each):
            books.sell(run, f"child{child}", number)
        if child % 2:
            sys.exit(0)  # delivered on the way out
        flushed = client.flush(60)
        stats = client.stats
        wrong = not books.balanced(stats) or stats.delivered != each
        sys.exit(int(wrong or not flushed))
    started.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
done.set()
for thread in threads:
    thread.join()
flushed = client.flush(60)
print(json.dumps({**auditor.end(), "counts": counts, "flushed": flushed}))
sys.exit(any(codes))
