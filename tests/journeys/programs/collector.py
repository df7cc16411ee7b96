"""Log whenever the garbage collector runs, in the middle of log calls and requests."""

import gc
import sys

import shop

handler = shop.open_at(sys.argv[1], flush_interval=0.01)
runs = []


def on_collection(phase: str, info: object) -> None:
    if phase == "start" and len(runs) < 4000:
        runs.append(None)
        shop.sell(-len(runs), lane="")  # on whatever thread


gc.callbacks.append(on_collection)
gc.set_threshold(20)
for number in range(4000):
    shop.sell(number)
handler.client.flush()
gc.callbacks.clear()
handler.client.flush()
stats = handler.client.stats
shop.note("refused", stats.rejected.get("in_callback", 0))
