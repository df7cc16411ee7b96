"""The lock of the `logging` module: whether this thread holds it."""

from __future__ import annotations

import logging
import logging.config

from odp_logging._runtime.logging_lock import owns_logging_lock


def test_the_logging_lock_is_detected() -> None:
    """owns_logging_lock() is true while this thread configures logging."""
    seen: list[bool] = []

    class Asking(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            seen.append(owns_logging_lock())

    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": False,
            "disable_existing_loggers": False,
            "handlers": {"asking": {"()": Asking}},
        }
    )

    assert seen == [True]
    assert not owns_logging_lock()
