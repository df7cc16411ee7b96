"""The errors of the command line, and how one is printed without credentials.

`main` prints them. They have a file of their own: `main` imports it, and must not load
what a command needs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class UsageError(Exception):
    """The command line does not have the form of the command."""


class CommandError(Exception):
    """A command cannot be carried out; the message gives the cause in one line."""


def mask_arguments(words: Sequence[str]) -> str:
    """Return *words* without the values of options, which may be keys."""
    shown: list[str] = []
    for word in words:
        name, sign, _ = word.partition("=")
        if word.startswith("-"):
            name = name if name.startswith("--") else name[:2]
            shown.append(name + "=***" * bool(sign))
        else:
            # What follows an option may be its value.
            is_value = any(previous.startswith("-") for previous in shown)
            # name=value: the value may be an identifier.
            shown.append("***" if is_value else name + "=***" * bool(sign))
    return " ".join(shown)


def mask_credentials(message: str, words: Sequence[str]) -> str:
    """Return *message* without the credentials of the URLs in *words*."""
    secrets = {secret for word in words for secret in _find_credentials(word)}
    # The longest first: a short one may be a part of it.
    for secret in sorted(secrets, key=len, reverse=True):
        for text in (secret, repr(secret)[1:-1]):
            message = message.replace(text, "***")
    return message


def _find_credentials(word: str) -> list[str]:
    """Return user and password of the URL in *word*, and secrets in its query."""
    # Up to the last "@": a password that is not percent-encoded may contain one.
    found = re.findall(r"//(.+)@", word, re.DOTALL)
    # A word may hold several URLs.
    found += re.findall(r"//([^/@]+)@", word)
    found += [user_and_password.partition(":")[2] for user_and_password in found]
    found += re.findall(r"[?&](?:password|passwd|token|secret|key)=([^&]+)", word, re.I)
    # Masking one or two letters would only make the message unreadable.
    return [secret for secret in found if len(secret) > 2]
