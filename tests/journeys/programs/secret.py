"""Log one event that ODP never answers; dump stacks and reprs as a crash would."""

import faulthandler
import logging
import sys

import audited_shop

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
handler = audited_shop.open_handler()
client = handler.client
audited_shop.sell("r", 0, 0)
print("ready", flush=True)
sys.stdin.readline()
faulthandler.dump_traceback(all_threads=True)
raise RuntimeError(f"{handler!r} {client!r} {client.stats!r} {client._config!r}")
