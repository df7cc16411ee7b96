"""Configure logging where an earlier process left events; name who imported what.

Prints the modules that another thread than the main one imported while dictConfig held
logging's lock: their loggers would be waited for.
"""

import logging.config
import sys
import threading
import time

imported: set[str] = set()
configuring = True


def watch(event: str, arguments: tuple[object, ...]) -> None:
    foreign = threading.current_thread() is not threading.main_thread()
    if event == "import" and configuring and foreign:
        imported.add(str(arguments[0]))


sys.addaudithook(watch)
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"odp": {"class": "odp_logging.OdpHandler", "api_key": "key"}},
        "root": {"level": "INFO", "handlers": ["odp"]},
    }
)
configuring = False
(handler,) = logging.getLogger().handlers
print(sorted(imported))
limit = time.monotonic() + 20
while handler.client.stats.replayed < 5 and time.monotonic() < limit:
    threading.Event().wait(0.005)
