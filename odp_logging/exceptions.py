"""Exceptions that this library raises.

OdpLoggingError
├── ConfigurationError   a setting has an invalid value (also a ValueError)
├── InvalidEventError    an event is invalid for ODP (also a ValueError)
└── OutboxError          the end of an outbox block: its transaction failed

A log call never raises any of them.
"""

from __future__ import annotations


class OdpLoggingError(Exception):
    """Base class of all errors that this library raises."""


# A ValueError too, so that code which knows only the built-in errors can catch it.
class ConfigurationError(OdpLoggingError, ValueError):
    """A setting has an invalid value; the message names a valid one."""


class InvalidEventError(OdpLoggingError, ValueError):
    """
    The arguments do not make a valid event.

    Args:
        message: What is wrong and what to pass instead; holds no value of the event.
        reason: Short name under which ``client.stats.rejected`` counts the event.
    """

    def __init__(self, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


class OutboxError(OdpLoggingError):
    """
    Events could not be written to an outbox, so their transaction was not committed.

    The end of a block of `outbox` raises it, and not the log call in the block.
    """
