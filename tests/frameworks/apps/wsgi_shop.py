"""A WSGI application without a framework, that may log an event at its import."""

import logging
import logging.config
import os
import threading

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
        "root": {"level": "INFO", "handlers": ["odp"]},
    }
)
logger = logging.getLogger("shop")


def sell(number):
    who = {"fs_user_id": "u1"}
    data = {"n": number, "pid": os.getpid()}
    logger.info(
        "sold", extra={"odp_action": "sold", "odp_identifiers": who, "odp_data": data}
    )


if "SHOP_OPENS" in os.environ:
    sell(0)


def app(environ, start_response):
    _, action, number = f"{environ['PATH_INFO']}/".split("/")[:3]
    if action in ("buy", "hang"):
        sell(int(number))
    if action == "hang":
        threading.Event().wait(60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
