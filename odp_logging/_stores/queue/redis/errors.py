"""Words for what Redis answers, and for why it does not; never the text of an error.

The text of a response may quote a value, and in a pipeline it begins with the command.
"""

from __future__ import annotations

import re

from ...._runtime.network_errors import (
    UNTRUSTED,
    format_network_error,
    list_exception_chain,
)
from .sockets import MAX_ENTRIES_BYTES, ResponseTooLarge

_CODES = {
    "AskError": "ASK",
    "AuthenticationError": "WRONGPASS",
    "AuthenticationWrongNumberOfArgsError": "WRONGPASS",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "ExecAbortError": "EXECABORT",
    "ExternalAuthProviderError": "WRONGPASS",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""The code of a response, by the class of `redis` that is raised without it."""

_ERROR_MESSAGES = {
    "ASK": "is moving a shard to another server",
    "BUSY": "is busy with a script of another program",
    "CLUSTERDOWN": "is a cluster that is down",
    "LOADING": "is still loading its data",
    "MASTERDOWN": "has lost its master",
    "MISCONF": "cannot save its data and accepts none; check the disk of its host",
    "NOAUTH": "refuses the user or password of its URL",
    "NOREPLICAS": "has fewer replicas than its min-replicas-to-write",
    "OOM": "has no memory left; increase its maxmemory",
    "READONLY": "is a replica and cannot be written to; use its master's address",
    "TRYAGAIN": "is moving a shard to another server",
    "WRONGPASS": "refuses the user or password of its URL",
    "WRONGTYPE": "has a key of another type with the name of a stream",
}
"""What a response means, by its code."""

_CODE = re.compile("-?([A-Z]{2,20})(?= |$)")
_COMMAND = re.compile("'([a-z]{2,20}(?:[| ][a-z]{2,20})?)' command")
_AUTHENTICATION = ("WRONGPASS", "NOAUTH")


def find_code(error: BaseException) -> str:
    """Return the code of a response, such as ``"NOPERM"``; empty if there is none."""
    # Class names instead of classes: importing `redis` takes 0.1 s.
    text = _get_text(error)
    if " MOVED " in f" {text}":
        return "MOVED"
    # Both have one class.
    for code in _AUTHENTICATION:
        if code in text:
            return code
    if "Authentication required" in text:  # `redis` removes the code
        return "NOAUTH"
    by_class = _CODES.get(type(error).__name__)
    if by_class:
        return by_class
    match = _CODE.match(text)
    return match[1] if match and is_response_error(error) else ""


def _get_text(error: BaseException) -> str:
    # In a pipeline the text begins with the command, which may quote an event.
    return str(error).rpartition("caused error: ")[2]


def is_response_error(error: BaseException) -> bool:
    """Whether Redis answered with *error*: the connection works."""
    return any(base.__name__ == "ResponseError" for base in type(error).__mro__)


def format_response_error(error: Exception, *, is_cluster: bool) -> str:
    """Return what Redis answered; empty if it did not answer."""
    code, text = find_code(error), _get_text(error)
    if code == "MOVED" and not is_cluster:
        return "is part of a cluster; use redis+cluster:// (MOVED)"
    if code == "MOVED":
        return "moved a shard to another server (MOVED)"
    if code == "NOPERM":
        # The name of a command is no value; it begins the advice for an operator.
        command = _COMMAND.search(text)
        missing = f"the command {command[1].upper()}" if command else "a command or key"
        return f"does not permit this user {missing} that the library needs (NOPERM)"
    if code in _ERROR_MESSAGES:
        return f"{_ERROR_MESSAGES[code]} ({code})"
    if "unknown command" in text.lower():
        return "is older than Redis 6.2, which this needs"
    if type(error).__name__ == "InvalidResponse":
        return "does not speak the protocol of Redis; check host and port"
    if is_response_error(error):
        return f"answered with the error {code}" if code else "refused a command"
    return ""


def format_connection_error(
    error: Exception, handled: BaseException | None, *, seconds: float
) -> str:
    """
    Return why Redis gave no response.

    Args:
        handled: The exception that the application was handling before, if any.
        seconds: Time that the response was given.
    """
    if isinstance(error, ResponseTooLarge):
        return f"sent an answer of more than {MAX_ENTRIES_BYTES // 1024**2} MiB"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"{UNTRUSTED}; set SSL_CERT_FILE to the file of its authority, and use the"
            " host of the certificate in the URL"
        )
    if not isinstance(error, OSError) and not _is_from_redis(error):
        # Not a fault of the network. The name is what its report needs.
        return f"gave an answer that cannot be read ({type(error).__name__})"
    # `redis` raises its own exceptions while it handles those of the system.
    causes = list_exception_chain(error, handled)
    for cause in reversed(causes):
        if words := format_network_error(cause, seconds=seconds):
            return words
    names = [type(cause).__name__ for cause in causes]
    if "TimeoutError" in names:
        return str(format_network_error(TimeoutError(), seconds=seconds))
    if "closed by server" in str(error):
        return str(format_network_error(ConnectionError(), seconds=seconds))
    return "gave no answer"


def _is_from_redis(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == "redis"
