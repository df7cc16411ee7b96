"""Log numbered events to a spool and print each number after its log call returned.

Arguments: the URL of ODP, the first number, the count (0: no limit), and how to end:
"return", "_exit", or "wait" (for a signal).
"""

import os
import signal
import sys

import shop

url, first, count, how = sys.argv[1:]
shop.open_at(url, flush_interval=0.05, shutdown_timeout=0.3)
number = int(first)
end = number + int(count) if count != "0" else sys.maxsize
while number < end:
    shop.sell(number)
    os.write(1, b"%d\n" % number)
    number += 1
if how == "_exit":
    os._exit(0)
elif how == "wait":
    os.write(1, b"ready\n")
    signal.pause()
