"""Log from four threads while ODP fails; print the counts at the end."""

import json
import sys
import threading

import audited_shop

run, count = sys.argv[1], int(sys.argv[2])
drops: dict[str, int] = {}


def on_drop(events: list[object], reason: str) -> None:
    reason = reason.partition(":")[0]
    drops[reason] = drops.get(reason, 0) + len(events)


handler = audited_shop.open_handler(on_drop=on_drop)
client = handler.client
auditor = audited_shop.Auditor(client)


def work(source: int) -> None:
    for number in range(count):
        # ODP rejects one event in a thousand.
        poison = {"bad": "poison"} if number % 1000 == 500 else {}
        audited_shop.sell(run, source, number, **poison)


threads = [threading.Thread(target=work, args=(source,)) for source in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
flushed = client.flush(60)
print(json.dumps({**auditor.end(), "flushed": flushed, "on_drop": drops}))
