"""Kill processes that log, each at a random time; print which log calls returned.

Arguments: the URL of ODP, the number of processes, the seed of the times, and the
number of threads that log in each process (1). Each process has its own 45 numbers, so
all of them fit into the emulator's ledger.
"""

import os
import random
import select
import signal
import sys
import threading

import shop

from odp_logging._flusher.loading import load_http, load_sending_modules

url, count, seed = sys.argv[1:4]
threads = int(sys.argv[4]) if sys.argv[4:] else 1
delays = random.Random(int(seed))
pause = threading.Event()
# Once for all children: each would import these modules for its client.
load_sending_modules()
load_http()


def work(first: int, writing: int) -> None:
    """Log, and write each number after its log call has returned."""
    shop.open_at(url, flush_interval=0.01)

    def busy(offset: int) -> None:
        for number in range(first + offset, first + 45, threads):
            shop.sell(number)
            os.write(writing, b"%d\n" % number)

    for offset in range(1, threads):
        threading.Thread(target=busy, args=(offset,), daemon=True).start()
    busy(0)
    signal.pause()


for index in range(int(count)):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(index * 45, writing)
        finally:
            os._exit(1)
    os.close(writing)
    # Not before its first event: there is nothing to lose yet.
    select.select([reading], [], [], 10)
    pause.wait(delays.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(reading) as numbers:
        print(numbers.read(), end="")
