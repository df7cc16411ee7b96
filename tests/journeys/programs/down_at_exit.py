"""End with 21 events of three handlers undelivered; print how long the end took."""

import atexit
import sys
import time


# Registered before the library is imported, so it runs after the last drain.
@atexit.register
def print_duration() -> None:
    print(time.monotonic() - began)


import shop  # noqa: E402

url, timeout, awaited = sys.argv[1:]
handlers = [
    shop.open_at(url, account, shutdown_timeout=timeout, flush_interval=0.01)
    for account in ("one", "two", "three")
]
for number in range(7):
    shop.sell(number)
limit = time.monotonic() + 20
for handler in handlers:
    while awaited and handler.client.stats.state != awaited:
        assert time.monotonic() < limit
began = time.monotonic()
