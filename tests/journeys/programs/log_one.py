"""Log one event and end."""

import sys

import shop

shop.open_at(sys.argv[1])
shop.sell(0)
