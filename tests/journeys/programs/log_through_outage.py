"""Log events while ODP is down, print "logged", and wait until they are delivered.

Arguments: the URL of ODP and the number of events. It logs no faster than the flusher
thread writes to disk.
"""

import sys
import threading

import shop

url, count = sys.argv[1:]
client = shop.open_at(url, flush_interval=0.02).client
pause = threading.Event()
for number in range(int(count)):
    shop.sell(number)
    while client.stats.pending > 190:
        pause.wait(0.001)
print("logged", flush=True)
client.flush(20)
stats = client.stats
print(stats.accepted, stats.delivered, stats.pending, stats.spooled)
