"""Fork in a signal handler within a request; the child returns from the handler."""

import os
import signal
import sys
import threading

import shop

(url,) = sys.argv[1:]
children: list[int] = []


def fork(signum: int, frame: object) -> None:
    child = os.fork()
    children.append(child)
    if child:
        # If the child waits for the answer, it reads it before the parent.
        _, status = os.waitpid(child, 0)
        assert status == 0


def interrupt() -> None:
    # Wait until the request is sent: the answer comes a second later.
    shop.wait_until(lambda: handler.client.stats.state == "sending")
    threading.Event().wait(0.2)
    os.kill(os.getpid(), signal.SIGUSR1)


signal.signal(signal.SIGUSR1, fork)
handler = shop.open_at(url, background=False, flush_interval=0.01)
watcher = threading.Thread(target=interrupt)
watcher.start()
shop.sell(0)
if children == [0]:
    shop.sell(1)
    os._exit(0)
watcher.join()
assert handler.client.stats.requests == 1
assert handler.client.stats.delivered == 1
