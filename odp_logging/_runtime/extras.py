"""The message for a module of an extra that is not installed."""

from __future__ import annotations


def format_missing_extra(reason: str, *, requirement: str, extra: str) -> str:
    """
    Return *reason*, and the command that installs what is missing.

    The command names the module. It works however this package was installed: from an
    index, from a folder, from a file.

    Args:
        requirement: What `pip install` takes, as in pyproject.toml.
        extra: The extra of this package that holds it.
    """
    return f"{reason}; pip install '{requirement}' (odp-logging's extra {extra})"
