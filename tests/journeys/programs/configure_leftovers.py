"""Configure logging with a spool that holds events of an earlier process.

Prints the modules that another thread than the main one imported while dictConfig held
the lock of `logging`. Such an import may create a logger and wait for that lock.
"""

import logging.config
import sys
import threading
import time

imported: set[str] = set()
configuring = True


def watch(event: str, arguments: tuple[object, ...]) -> None:
    is_other_thread = threading.current_thread() is not threading.main_thread()
    if event == "import" and configuring and is_other_thread:
        imported.add(str(arguments[0]))


def build_last_handler() -> logging.Handler:
    """Build the handler that is configured last, after a time for imports."""
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
            "the last": {"()": build_last_handler},
        },
        "root": {"level": "INFO", "handlers": ["odp", "the last"]},
    }
)
handler, _ = logging.getLogger().handlers
print(sorted(imported))
limit = time.monotonic() + 20
while handler.client.stats.replayed < 5 and time.monotonic() < limit:
    threading.Event().wait(0.005)
