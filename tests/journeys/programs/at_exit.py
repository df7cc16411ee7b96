"""Log in exit callbacks before and after the library's; print how long that took."""

import atexit
import sys
import time


def first_registered() -> None:
    began = time.monotonic()
    shop.sell(1)
    shop.sell(2)
    print(time.monotonic() - began)


atexit.register(first_registered)

import shop  # noqa: E402

if sys.argv[2:] == ["busy"]:
    handler = shop.open_at(sys.argv[1])
    shop.sell(0)
    handler.client.flush()
else:
    shop.open_at(sys.argv[1])
atexit.register(shop.sell, 3)
