"""Fork with an event pending; the child logs three events and ends as asked."""

import os
import sys

import shop

url, how = sys.argv[1:]
handler = shop.open_at(url)
shop.sell(0)
child = os.fork()
if child == 0:
    for number in (1, 2, 3):
        shop.sell(number)
    if how == "_exit":
        assert handler.client.flush(10)
        os._exit(0)
    sys.exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
