"""Wait for a signal, with an undeliverable event and a stderr without a reader."""

import os
import sys
import time

import shop

shop.open_at(sys.argv[1], shutdown_timeout=0.3)
shop.sell(0)
reader, writer = os.pipe()
os.dup2(writer, 2)
os.close(reader)
print("ready", flush=True)
while True:
    try:
        time.sleep(0.1)
    except Exception as error:
        print("survived", type(error).__name__, flush=True)
