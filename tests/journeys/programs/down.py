"""End with 21 events of three handlers undelivered."""

import sys

import shop

url, timeout = sys.argv[1:]
for _ in range(3):
    shop.open_at(url, shutdown_timeout=timeout, flush_interval=0.01)
for number in range(7):
    shop.sell(number)
print("logged", flush=True)
