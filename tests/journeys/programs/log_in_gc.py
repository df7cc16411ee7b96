"""Log each time the garbage collector runs, amid log calls and requests."""

import gc
import sys

import shop

handler = shop.open_at(sys.argv[1], flush_interval=0.01)
runs = []


def on_collection(phase: str, info: object) -> None:
    if phase == "start" and len(runs) < 4000:
        runs.append(None)
        shop.sell(-len(runs), source="")  # on any thread


gc.callbacks.append(on_collection)
gc.set_threshold(20)
for number in range(4000):
    shop.sell(number)
handler.client.flush()
gc.callbacks.clear()
handler.client.flush()
stats = handler.client.stats
shop.note("rejected", stats.rejected.get("in_callback", 0))
