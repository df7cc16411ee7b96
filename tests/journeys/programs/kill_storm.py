"""Kill processes that log, each at a random moment; say which log calls returned.

Arguments: the address, how many processes, the seed of the moments, and how many
threads log in each process (1). Each process has 45 numbers of its own, so that all of
them fit into the emulator's ledger.
"""

import os
import random
import select
import signal
import sys
import threading

import shop

url, count, seed = sys.argv[1:4]
threads = int(sys.argv[4]) if sys.argv[4:] else 1
chance = random.Random(int(seed))
pause = threading.Event()


def work(first: int, writing: int) -> None:
    """Log, and say each number once its log call has returned."""
    shop.open_at(url, flush_interval=0.01)

    def busy(lane: int) -> None:
        for number in range(first + lane, first + 45, threads):
            shop.sell(number)
            os.write(writing, b"%d\n" % number)

    for lane in range(1, threads):
        threading.Thread(target=busy, args=(lane,), daemon=True).start()
    busy(0)
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
