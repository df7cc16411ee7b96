"""Log in a process that the library takes for a child forked without hooks."""

import sys

import shop

handler = shop.open_at(sys.argv[1])
client = handler.client
shop.sell(0)
client.flush()
client._pid = client._flusher._pid = 1
shop.sell(1)
assert client.flush(10)
client._pid = client._flusher._pid = 1
shop.sell(2)
