"""Log in a parent and a child that share a spool; kill both while they work."""

import os
import signal
import sys

import shop

shop.open_at(sys.argv[1])
shop.sell(0)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    for number in range(100, 120):
        shop.sell(number)
    os.write(writing, b"x")
    signal.pause()
os.read(reading, 1)
for number in range(1, 20):
    shop.sell(number)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
os.kill(os.getpid(), signal.SIGKILL)
