"""Fill the buffer with events of one shape; print the memory per byte counted."""

import gc
import logging
import os
import sys

import odp_logging

SHAPES = {
    "purchase": lambda n: {"item": "shirt", "price": 50.0 + n},
    "nothing": lambda n: {},
    "numbers": lambda n: {f"k{i}": n * 1000 + i for i in range(32)},
    "texts of their own": lambda n: {f"k{n}_{i}": f"{n + i}" for i in range(32)},
    "empty lists": lambda n: {"l": [[] for _ in range(100)]},
    "dicts": lambda n: {"l": [{"a": n} for _ in range(100)]},
    "emoji": lambda n: {"t": "\U0001f600" * 200 + str(n)},
    "long text": lambda n: {"t": "x" * 1000 + str(n)},
    "bound": lambda n: {"n": n},
}
PAGE = os.sysconf("SC_PAGE_SIZE")
COUNTED_BYTES = 12_000_000


def read_resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


def log_one(number: int) -> None:
    """Log an event of the selected shape."""
    extra = {"odp_action": "a", "odp_data": SHAPES[shape](number)}
    with odp_logging.bound_identifiers(fs_user_id=f"u{number}"):
        if shape == "bound":
            log.info("x", extra=extra)
    if shape != "bound":
        log.info("x", extra={**extra, "odp_identifiers": {"u": f"u{number}"}})


shape = sys.argv[1]
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
handler = odp_logging.OdpHandler(max_retry_delay=60, shutdown_timeout=0)
log.addHandler(handler)
number = 0
while number < 1000 or not handler.client.stats.requests:
    log_one(number := number + 1)
before, counted = read_resident_bytes(), handler.client.stats.queue_bytes
while handler.client.stats.queue_bytes < counted + COUNTED_BYTES:
    for _ in range(100):
        log_one(number := number + 1)
stats = handler.client.stats
assert stats.pending == stats.accepted, stats
print((read_resident_bytes() - before) / (stats.queue_bytes - counted))
