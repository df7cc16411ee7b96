"""A shop whose jobs run in the work horses of rq."""

import logging
import os

from odp_logging import OdpHandler

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler(flush_interval=60))


def sell(number: int) -> None:
    """Log a sale, to be delivered by the end of the work horse."""
    data = {"number": number, "pid": os.getpid()}
    logger.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"fs_user_id": f"user{number}"},
            "odp_data": data,
        },
    )


def fail(number: int) -> None:
    """Log a sale, and raise."""
    sell(number)
    raise RuntimeError("a job that fails")
