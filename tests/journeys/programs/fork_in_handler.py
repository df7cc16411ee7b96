"""Log while a signal handler forks children that log; print what the parent logged."""

import itertools
import os
import signal
import sys

import shop

url, background = sys.argv[1:]
MAX_FORKS = 10
handler = shop.open_at(
    url, flush_interval=0.01, max_batch_size=5, background=background
)
numbers = itertools.count()
parent = os.getpid()
children: list[int] = []


def fork(signum: int, frame: object) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    if os.getpid() != parent or len(children) == MAX_FORKS:
        return
    child = os.fork()
    if child == 0:
        first = 100_000 + 10 * len(children)
        for number in range(first, first + 3):
            shop.sell(number)
        os._exit(0)
    children.append(child)
    signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.0003 * len(children))


shop.sell(next(numbers))
assert handler.client.flush(20)
signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.002)
while len(children) < MAX_FORKS:
    shop.sell(next(numbers))
    handler.client.flush(20)
signal.setitimer(signal.ITIMER_REAL, 0)
for child in children:
    _, status = os.waitpid(child, 0)
    assert status == 0
print(next(numbers))
