"""Open the spool that earlier processes left, and stay until it is empty.

Argument: the address. Prints how many of their events were sent, and how many files are
left in the spool after twenty seconds at most.
"""

import os
import sys
import threading
import time
from pathlib import Path

import shop

client = shop.open_at(sys.argv[1], flush_interval=0.05).client
home = Path(os.environ["ODP_SPOOL"])
pause = threading.Event()
deadline = time.monotonic() + 20
while list(home.glob("*.spool")) and time.monotonic() < deadline:
    pause.wait(0.05)
client.close(5)
print(client.stats.replayed, len(list(home.glob("*.spool"))))
