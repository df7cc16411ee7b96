"""Fork a daemon that closes all inherited files and opens others in their place.

Argument: the URL of ODP. The parent logs again after the child has ended.
"""

import os
import sys
import tempfile

import shop


def open_file() -> int:
    """Open a new file and return its descriptor."""
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor


shop.open_at(sys.argv[1])
for number in range(50):
    shop.sell(number)
child = os.fork()
if child == 0:
    os.closerange(3, 256)
    files = [open_file() for _ in range(60)]
    for number in range(100, 110):
        shop.sell(number)
    sys.exit(any(os.lseek(file, 0, os.SEEK_END) for file in files))
_, status = os.waitpid(child, 0)
for number in range(50, 60):
    shop.sell(number)
sys.exit(os.waitstatus_to_exitcode(status))
