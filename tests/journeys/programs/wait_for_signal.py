"""Log three events, print "ready", and wait for a signal."""

import resource
import signal
import sys
import threading

import shop

url, how = (*sys.argv[1:], "")[:2]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGQUIT would write a core file


def handle(signum: int, frame: object) -> None:
    shop.sell(3)
    sys.exit(7)


if how == "handled-before":
    signal.signal(signal.SIGTERM, handle)
handler = shop.open_at(url, handle_sigterm=how != "off")
if how == "handled-after":
    signal.signal(signal.SIGTERM, handle)
for number in range(3):
    shop.sell(number)
if how == "at-once":
    # The flusher thread is importing its modules at this time.
    signal.raise_signal(signal.SIGTERM)
print("ready", flush=True)
while True:
    threading.Event().wait(60)
