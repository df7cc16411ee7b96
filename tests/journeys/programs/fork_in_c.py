"""Log in a child that was forked in C, as uWSGI does: no fork hook of Python ran."""

import ctypes
import os
import sys

import shop

handler = shop.open_at(sys.argv[1])
client = handler.client
shop.sell(0)
client.flush()
child = ctypes.PyDLL(None).fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
shop.sell(1)
assert client.flush(10)
shop.sell(2)
