"""End with three undeliverable events; print when the end begins."""

import atexit
import sys

import shop

url, timeout = sys.argv[1:]
shop.open_at(url, shutdown_timeout=timeout)
for number in range(3):
    shop.sell(number)
atexit.register(print, "ending", flush=True)
