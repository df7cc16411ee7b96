"""Log in exit callbacks that run before and after the library's."""

import atexit
import sys


def first_registered() -> None:
    shop.sell(1)
    shop.sell(2)


atexit.register(first_registered)

import shop  # noqa: E402

if sys.argv[2:] == ["busy"]:
    handler = shop.open_at(sys.argv[1])
    shop.sell(0)
    handler.client.flush()
else:
    shop.open_at(sys.argv[1])
atexit.register(shop.sell, 3)
