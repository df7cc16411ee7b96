"""Log whenever the garbage collector runs, in the middle of log calls and requests."""

import gc
import sys

import shop

handler = shop.open_at(sys.argv[1], flush_interval=0.01)
runs = []


def on_collection(phase: str, info: object) -> None:
    if phase == "start" and len(runs) < 1000:
        runs.append(None)
        shop.sell(-len(runs))


gc.callbacks.append(on_collection)
gc.set_threshold(50)
for number in range(2000):
    shop.sell(number)
handler.client.flush()
gc.callbacks.clear()
handler.client.flush()
stats = handler.client.stats
print(stats.accepted, stats.delivered, stats.rejected.get("in_callback", 0))
