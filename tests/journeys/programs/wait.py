"""Log three events, say so, and wait for a signal."""

import signal
import sys
import threading

import shop

url, how = sys.argv[1:]


def handle(signum: int, frame: object) -> None:
    shop.sell(3)
    sys.exit(7)


if how == "handled before":
    signal.signal(signal.SIGTERM, handle)
handler = shop.open_at(url, handle_sigterm=how != "off")
if how == "handled after":
    signal.signal(signal.SIGTERM, handle)
for number in range(3):
    shop.sell(number)
if how == "warm":
    # Python forgets that it ends of Ctrl-C while a thread still imports modules.
    handler.client.flush()
    shop.sell(3)
if how == "at once":
    # In the middle of the thread's first imports.
    signal.raise_signal(signal.SIGTERM)
print("ready", flush=True)
while True:
    threading.Event().wait(60)
