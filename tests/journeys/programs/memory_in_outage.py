"""Log while ODP is down; print the memory used and the counts."""

import json
import os
import sys
import time

import audited_shop

count, letters, points = (int(word) for word in sys.argv[1:])
PAGE = os.sysconf("SC_PAGE_SIZE")


def read_resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


handler = audited_shop.open_handler()
audited_shop.sell("r", 0, -1)
limit = time.monotonic() + 20
while not handler.client.stats.requests:  # then all modules are imported
    assert time.monotonic() < limit
before = read_resident_bytes()
memory = []
unbalanced = 0
for number in range(count):
    more = {"text": f"{number:0{letters}}"} if letters else {}
    audited_shop.sell("r", 0, number, **more)
    if (number + 1) % (count // points) == 0:
        memory.append(read_resident_bytes() - before)
        unbalanced += not audited_shop.is_balanced(handler.client.stats)
stats = handler.client.stats
print(
    json.dumps(
        {
            "memory": memory,
            "unbalanced": unbalanced,
            "accepted": stats.accepted,
            "dropped": dict(stats.dropped),
            "pending": stats.pending + stats.spooled,
            "queue_bytes": stats.queue_bytes,
            "requests": stats.requests,
        }
    ),
    flush=True,
)
