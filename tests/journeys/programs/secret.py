"""Log one event that is never answered; dump what a crash would, and fail."""

import faulthandler
import logging
import sys

import books

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
handler = books.open_handler()
client = handler.client
books.sell("r", 0, 0)
print("ready", flush=True)
sys.stdin.readline()
faulthandler.dump_traceback(all_threads=True)
raise RuntimeError(f"{handler!r} {client!r} {client.stats!r} {client.config!r}")
