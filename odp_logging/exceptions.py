"""What can go wrong, as one small tree.

OdpLoggingError
├── ConfigurationError   a setting that cannot be used (also a ValueError)
└── InvalidEventError    an event that ODP could not store (also a ValueError)

None of them is ever raised into an application's log call.
"""

from __future__ import annotations


class OdpLoggingError(Exception):
    """Base of all errors this library raises."""


class ConfigurationError(OdpLoggingError, ValueError):
    """A setting has a value that cannot be used; the message names a good one."""


class InvalidEventError(OdpLoggingError, ValueError):
    """
    An event cannot be made from what was given.

    Args:
        message: What is wrong and what to pass instead; never holds a value.
        reason: The short name under which ``client.stats.rejected`` counts it.
    """

    def __init__(self, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason
