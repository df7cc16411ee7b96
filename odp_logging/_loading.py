"""What making, counting and sending events takes: imported once, and held.

It takes as long as all else that a configured handler needs, so the flusher's thread
imports it, see `Flusher.load`. It is held because no statement can import anything at
the end of the interpreter, when finalisers run, not even what was imported before.
"""

from __future__ import annotations

from functools import cache


class Loaded:
    """The functions of those modules."""

    def __init__(self) -> None:
        from ._making import Builder
        from ._ordinary import load_encoder
        from .transports._http import Http
        from .transports._retry import Retry

        self.Builder = Builder
        self.Http = Http
        self.Retry = Retry
        load_encoder()


@cache
def loaded() -> Loaded:
    """Return them all, imported at the first call."""
    return Loaded()
