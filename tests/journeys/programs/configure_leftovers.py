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


def last() -> logging.Handler:
    """Make the handler that is configured last, when others had time to import."""
    global configuring
    limit = time.monotonic() + 0.5
    while not imported and time.monotonic() < limit:
        threading.Event().wait(0.005)
    configuring = False
    return logging.NullHandler()


sys.addaudithook(watch)
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "odp": {"class": "odp_logging.OdpHandler", "api_key": "key"},
            "the last": {"()": last},
        },
        "root": {"level": "INFO", "handlers": ["odp", "the last"]},
    }
)
handler, _ = logging.getLogger().handlers
print(sorted(imported))
limit = time.monotonic() + 20
while handler.client.stats.replayed < 5 and time.monotonic() < limit:
    threading.Event().wait(0.005)
