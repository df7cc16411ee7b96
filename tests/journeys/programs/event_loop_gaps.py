"""Measure the longest gap of an event loop while events are logged and sent.

Arguments: the URL of ODP, ``gevent`` or ``eventlet``, and when it patches: ``early``,
after the handler was ``made``, after it ``sent`` an event, or in a forked ``child``.
Prints the gap in seconds, and whether flush returned True.
"""

import importlib
import os
import sys
import time

url, library, when = sys.argv[1:]


def patch() -> None:
    if library == "gevent":
        importlib.import_module("gevent.monkey").patch_all()
    else:
        importlib.import_module("eventlet").monkey_patch()


if when == "early":
    patch()
import shop  # noqa: E402

client = shop.open_at(url, flush_interval=0.2).client
if when in ("sent", "child"):
    shop.sell(0)
    assert client.flush(30)
if when == "child":
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.exit(status)
if when != "early":
    patch()
loop = importlib.import_module(library)
gaps: list[float] = []
done: list[bool] = []


def measure_gaps() -> None:
    last = time.perf_counter()
    while not done:
        loop.sleep(0.02)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now


def work(first: int) -> None:
    for number in range(first, first + 4):
        shop.sell(number)
        loop.sleep(0.1)


loop.spawn(measure_gaps)
loop.sleep(0.1)
for first in (10, 20, 30):
    loop.spawn(work, first)
loop.sleep(1)
shop.sell(40)
flushed = client.flush(30)
loop.sleep(0.1)
done.append(True)
loop.sleep(0.1)
print(f"{max(gaps):.2f}", flushed, flush=True)
