"""Terminate processes of multiprocessing that logged; print their exit codes."""

import multiprocessing
import sys
import threading
from typing import Any

import shop

(url,) = sys.argv[1:]


def work(number: int, ready: Any) -> None:
    shop.sell(number)
    ready.set()
    # In short steps: CPython handles a signal that comes just before a wait in C only
    # when that wait is over.
    for _ in range(600):
        threading.Event().wait(0.05)


def terminate(number: int) -> None:
    ready = context.Event()
    process = context.Process(target=work, args=(number, ready))
    process.start()
    assert ready.wait(20)
    process.terminate()
    process.join(20)
    print(process.exitcode)


context = multiprocessing.get_context("fork")
shop.open_at(url)
terminate(0)
thread = threading.Thread(target=terminate, args=(1,))
thread.start()
thread.join()
