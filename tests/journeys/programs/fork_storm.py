"""Fork 16 children while four threads log; each child logs ten and ends."""

import os
import sys
import threading

import shop

shop.open_at(sys.argv[1])
done = threading.Event()


def busy(first: int) -> None:
    for number in range(first, first + 1000):
        shop.sell(number)
        if done.wait(0.001):
            return


counts = [0]
threads = [
    threading.Thread(target=busy, args=(first,)) for first in range(0, 4000, 1000)
]
for thread in threads:
    thread.start()
children = []
for index in range(16):
    child = os.fork()
    if child == 0:
        for number in range(10):
            shop.sell(10_000 + index * 10 + number)
        sys.exit(0)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
done.set()
for thread in threads:
    thread.join()
sys.exit(any(codes))
