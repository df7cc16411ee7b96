"""Deliver 50 events, log 20 more, and end without a chance to deliver them."""

import os
import sys

import shop

url, how = sys.argv[1:]
handler = shop.open_at(url)
for number in range(50):
    shop.sell(number)
assert handler.client.flush(10)
shop.note("mark")
for number in range(50, 70):
    shop.sell(number)
if how == "_exit":
    os._exit(0)
if how == "execv":
    os.execv(sys.executable, [sys.executable, "-c", ""])
print("ready", flush=True)
sys.stdin.read()
