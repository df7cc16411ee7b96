"""Log from four threads while ODP fails; print what the books say at the end."""

import json
import sys
import threading

import books

run, each = sys.argv[1], int(sys.argv[2])
told: dict[str, int] = {}


def on_drop(events: list[object], reason: str) -> None:
    reason = reason.partition(":")[0]
    told[reason] = told.get(reason, 0) + len(events)


handler = books.open_handler(on_drop=on_drop)
client = handler.client
auditor = books.Auditor(client)


def work(lane: int) -> None:
    for number in range(each):
        # One event in a thousand is one that ODP refuses.
        poison = {"bad": "poison"} if number % 1000 == 500 else {}
        books.sell(run, lane, number, **poison)


threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
flushed = client.flush(60)
print(json.dumps({**auditor.end(), "flushed": flushed, "told": told}))
