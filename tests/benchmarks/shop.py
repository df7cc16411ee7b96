"""The event that is measured: a purchase, as in README."""

from __future__ import annotations

import logging
from typing import Any

LOGGER = logging.getLogger("shop.checkout")
"""Propagates to the root logger, where the handler under test is."""


def fields() -> dict[str, Any]:
    """Return what a tagged record carries, made anew as a log call makes it."""
    return {
        "odp_action": "purchased",
        "odp_identifiers": {"fs_user_id": "u-1042", "email": "ada@example.com"},
        "odp_data": {"item": "shirt", "price": 50.0},
    }


def purchase() -> None:
    """Log one tagged record."""
    LOGGER.info(
        "purchase",
        extra={
            "odp_action": "purchased",
            "odp_identifiers": {"fs_user_id": "u-1042", "email": "ada@example.com"},
            "odp_data": {"item": "shirt", "price": 50.0},
        },
    )


def view() -> None:
    """Log one record without a tag."""
    LOGGER.info("viewed %s", "shirt", extra={"request": 17})


def view_plain() -> None:
    """Log one record without a tag and without ``extra``."""
    LOGGER.info("viewed %s", "shirt")


def on_root(*handlers: logging.Handler) -> None:
    """Have *handlers* and no others on the root logger, at INFO."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.handlers[:] = handlers
