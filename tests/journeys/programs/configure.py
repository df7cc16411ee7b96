"""Apply dictConfig twice with events pending; print how long the second took."""

import logging
import logging.config
import sys
import time

import shop

CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "odp": {
            "class": "odp_logging.OdpHandler",
            "api_key": "key",
            "api_host": sys.argv[1],
            "flush_interval": sys.argv[2],
            "shutdown_timeout": 10,
        },
        "text": {"class": "logging.FileHandler", "filename": "/dev/null"},
    },
    "root": {"level": "DEBUG", "handlers": ["odp", "text"]},
}
logging.config.dictConfig(CONFIG)
for number in range(3):
    shop.sell(number)
start = time.monotonic()
logging.config.dictConfig(CONFIG)
seconds = time.monotonic() - start
for number in range(3, 6):
    shop.sell(number)
print(seconds, flush=True)
