"""The result of one check of the doctor: what was found, and what to do about it.

It has a file of its own because every check builds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["ok", "hint", "problem"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """
    The result of one check; holds no key, identifier or payload.

    Args:
        kind: ``"ok"``; ``"hint"``, which may be intended; or ``"problem"``.
        check: What was checked, in one or two words.
        found: What was found, one line.
        advice: What to do, one line; empty if nothing needs to be done.
    """

    kind: Kind
    check: str
    found: str
    advice: str = ""

    def add_location(self, location: str) -> CheckResult:
        """Return this result with *location* before its text, if there is one."""
        if not location:
            return self
        return replace(self, found=f"{location}: {self.found}")
