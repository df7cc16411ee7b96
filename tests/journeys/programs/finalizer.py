"""Log in a finaliser that runs while the interpreter is taken apart."""

import sys

import shop


class Basket:
    def __del__(self) -> None:
        sell(1)


sell = shop.sell
basket = Basket()
basket.itself = basket  # so that only the end of the interpreter takes it
sys.modules["basket"] = basket
shop.open_at(sys.argv[1])
sell(0)
