"""Open the spool of earlier processes, and wait until it is empty.

Argument: the URL of ODP. Prints the number of their events that were sent, and the
number of files that are still in the spool after at most 150 seconds.
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
deadline = time.monotonic() + 150
while list(home.glob("*.spool")) and time.monotonic() < deadline:
    pause.wait(0.05)
client.close(5)
print(client.stats.replayed, len(list(home.glob("*.spool"))))
