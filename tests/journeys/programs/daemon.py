"""Become a daemon that closes all files it inherits, and opens others in their place.

Argument: the address. The parent goes on logging after the child has ended.
"""

import os
import sys
import tempfile

import shop


def other() -> int:
    """Open a file that nobody else has."""
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor


shop.open_at(sys.argv[1])
for number in range(50):
    shop.sell(number)
child = os.fork()
if child == 0:
    os.closerange(3, 256)
    others = [other() for _ in range(60)]
    for number in range(100, 110):
        shop.sell(number)
    sys.exit(any(os.lseek(each, 0, os.SEEK_END) for each in others))
_, status = os.waitpid(child, 0)
for number in range(50, 60):
    shop.sell(number)
sys.exit(os.waitstatus_to_exitcode(status))
