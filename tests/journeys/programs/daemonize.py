"""Log, deliver, become a daemon by two forks, and log in it as well."""

import os
import sys

import shop

handler = shop.open_at(sys.argv[1])
for number in range(3):
    shop.sell(number)
# The first process ends by os._exit, which would lose pending events.
assert handler.client.flush(10)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for number in range(3, 6):
    shop.sell(number)
