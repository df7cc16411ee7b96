"""Log events, say so once ODP was asked often enough, and end when stdin does."""

import sys

import shop

url, count, requests, *settings = sys.argv[1:]
given = dict(setting.split("=") for setting in settings)
handler = shop.open_at(url, on_drop=shop.dropped, **given)
for number in range(int(count)):
    shop.sell(number)
shop.until(lambda: handler.client.stats.requests >= int(requests))
print("ready", flush=True)
sys.stdin.read()
