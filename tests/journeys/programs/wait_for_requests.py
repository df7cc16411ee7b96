"""Log events, print "ready" after some requests, and end when stdin is closed."""

import sys

import shop

url, count, requests, *settings = sys.argv[1:]
given = dict(setting.split("=") for setting in settings)
handler = shop.open_at(url, on_drop=shop.record_drop, **given)
for number in range(int(count)):
    shop.sell(number)
shop.wait_until(lambda: handler.client.stats.requests >= int(requests))
print("ready", flush=True)
sys.stdin.read()
