"""Log on and on while ODP is down; print the memory taken, and the books."""

import json
import os
import sys
import time

import books

count, letters, points = (int(word) for word in sys.argv[1:])
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory that this process has right now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


handler = books.open_handler()
books.sell("r", 0, -1)
limit = time.monotonic() + 20
while not handler.client.stats.requests:  # what a request imports is here from now on
    assert time.monotonic() < limit
before = resident()
taken = []
wrong = 0
for number in range(count):
    more = {"text": f"{number:0{letters}}"} if letters else {}
    books.sell("r", 0, number, **more)
    if (number + 1) % (count // points) == 0:
        taken.append(resident() - before)
        wrong += not books.balanced(handler.client.stats)
stats = handler.client.stats
print(
    json.dumps(
        {
            "taken": taken,
            "wrong": wrong,
            "accepted": stats.accepted,
            "dropped": dict(stats.dropped),
            "pending": stats.pending + stats.spooled,
            "queue_bytes": stats.queue_bytes,
            "requests": stats.requests,
        }
    ),
    flush=True,
)
