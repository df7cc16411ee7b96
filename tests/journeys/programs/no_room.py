"""Log to a spool that cannot be written; say how many events went where.

Arguments: the address, the directory, the durability, and what is wrong: "full" (files
may not grow beyond 64 kB) or "read-only" (the directory is not to be written).
"""

import os
import resource
import signal
import sys

import shop

url, home, durability, wrong = sys.argv[1:]
# Whoever is no longer root may not be able to read what is imported late.
settings = {"spool": home + "-other", "durability": durability}
warm = shop.open_at(url, flush_interval=0.05, **settings)
shop.sell(0)
warm.client.flush(20)
shop.log.removeHandler(warm)
if wrong == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
elif os.getuid() == 0:  # whom permissions do not hold back
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
