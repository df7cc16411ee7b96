"""Log to a spool that is not writable; print the counts.

Arguments: the URL of ODP, the directory, the durability, and the problem: "full" (files
cannot grow beyond 64 kB) or "read-only" (the directory is not writable).
"""

import os
import resource
import signal
import sys

import shop

url, home, durability, problem = sys.argv[1:]
# Imports everything: after setuid the modules may not be readable.
settings = {"spool": home + "-other", "durability": durability}
first = shop.open_at(url, flush_interval=0.05, **settings)
shop.sell(0)
first.client.flush(20)
shop.log.removeHandler(first)
if problem == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
elif os.getuid() == 0:  # root may write despite the permissions
    os.chown(home, 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)
settings["spool"] = home
client = shop.open_at(url, flush_interval=0.05, **settings).client
for number in range(1, 600):
    shop.sell(number)
client.flush(20)
stats = client.stats
print(stats.accepted, stats.delivered, stats.pending, stats.spooled)
