"""Send SIGTERM to children right after the fork; print the number of survivors."""

import os
import signal
import sys
import threading

import shop

url, thread = sys.argv[1:]
survived = 0


def fork_and_terminate() -> None:
    global survived
    child = os.fork()
    if child == 0:
        threading.Event().wait(0.5)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    survived += os.waitstatus_to_exitcode(status) != -signal.SIGTERM


shop.open_at(url)
shop.sell(0)
for _ in range(20):
    if thread == "main":
        fork_and_terminate()
    else:
        other = threading.Thread(target=fork_and_terminate)
        other.start()
        other.join()
print(survived)
