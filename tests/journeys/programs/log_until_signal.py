"""Log as fast as possible, with a handler that holds a lock, until a signal."""

import logging
import sys

import shop

shop.open_at(sys.argv[1], max_queue_size=1_000_000)
logging.basicConfig(level=logging.DEBUG, filename="/dev/null")
number = 0
while True:
    shop.sell(number)
    number += 1
    if number == 100:
        print("ready", flush=True)
