"""Kill processes that log, each at a random moment; say which log calls returned.

Arguments: the address, how many processes, and the seed of the moments. Each process
has 45 numbers of its own, so that all of them fit into the emulator's ledger.
"""

import os
import random
import select
import signal
import sys
import threading

import shop

url, count, seed = sys.argv[1:]
chance = random.Random(int(seed))
pause = threading.Event()


def work(first: int, writing: int) -> None:
    """Log, and say each number once its log call has returned."""
    shop.open_at(url, flush_interval=0.01)
    for number in range(first, first + 45):
        shop.sell(number)
        os.write(writing, b"%d\n" % number)
    signal.pause()


for k in range(int(count)):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(k * 45, writing)
        finally:
            os._exit(1)
    os.close(writing)
    # From its first event on: before, there is nothing to lose.
    select.select([reading], [], [], 10)
    pause.wait(chance.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(reading) as said:
        print(said.read(), end="")
