"""Fork 64 children while four threads log and ODP fails; print the counts."""

import json
import os
import sys
import threading

import audited_shop

run, children, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handler = audited_shop.open_handler()
client = handler.client
auditor = audited_shop.Auditor(client)
done = threading.Event()
counts = [0, 0, 0, 0]


def busy(source: int) -> None:
    while not done.is_set():
        audited_shop.sell(run, source, counts[source])
        counts[source] += 1
        if done.wait(0.001):
            return


threads = [threading.Thread(target=busy, args=(source,)) for source in range(4)]
for thread in threads:
    thread.start()
started = []
for child in range(children):
    pid = os.fork()
    if pid == 0:
        for number in range(count):
            audited_shop.sell(run, f"child{child}", number)
        if child % 2:
            sys.exit(0)  # delivered at exit
        flushed = client.flush(60)
        stats = client.stats
        wrong = not audited_shop.is_balanced(stats) or stats.delivered != count
        sys.exit(int(wrong or not flushed))
    started.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
done.set()
for thread in threads:
    thread.join()
flushed = client.flush(60)
print(json.dumps({**auditor.end(), "counts": counts, "flushed": flushed}))
sys.exit(any(codes))
