"""Log five events and end in the way the second argument says."""

import sys
import threading
import time

import shop

url, how = sys.argv[1:]
handler = shop.open_at(url)
for number in range(5):
    shop.sell(number)
if how == "status":
    sys.exit(3)
elif how == "uncaught":
    raise ValueError("the application's own")
elif how == "outlived":

    def log_after_main() -> None:
        threading.main_thread().join()
        shop.sell(5)

    threading.Thread(target=log_after_main).start()
elif how == "daemons":

    def busy(number: int) -> None:
        while True:
            shop.sell(number)
            number += 2
            time.sleep(0.001)

    for first in (5, 6):
        threading.Thread(target=busy, args=(first,), daemon=True).start()
    shop.wait_until(lambda: handler.client.stats.accepted >= 20)
    shop.note("mark")
elif how == "collected":
    shop.log.removeHandler(handler)
    del handler
elif how == "closed-twice":
    handler.client.close()
    handler.client.close()
    handler.close()
    shop.sell(5)
elif how == "shutdown":
    import logging

    logging.shutdown()
    logging.shutdown()
    shop.sell(5)
