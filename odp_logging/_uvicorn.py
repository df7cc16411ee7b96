"""The one server that ends its process past atexit, and how to be there all the same.

uvicorn handles SIGTERM while it serves. After its graceful end it puts back the action
that it had found, most often the default one, and raises the signal again: the process
is gone at once (0.29 and later). An application that it imports, and each one of
``--workers`` and ``--reload``, comes too late to be what it puts back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any


def follow(handler: object, come_back: Callable[[], object]) -> None:
    """
    Have *come_back* called just before uvicorn raises signals again.

    Args:
        handler: Who handles the signal now; nothing is done if it is not uvicorn.
        come_back: Called on the main thread, when what uvicorn had found is in place.
    """
    server: Any = getattr(handler, "__self__", None)
    if not _is_server(server):
        return
    caught = getattr(server, "_captured_signals", None)
    # None before 0.29: then the process ends by itself, and atexit is enough.
    if type(caught) is list:
        server._captured_signals = _Caught(caught, come_back)


def _is_server(server: object) -> bool:
    # None while another thread is importing it, and no class where a test put a mock.
    kind = getattr(sys.modules.get("uvicorn.server"), "Server", None)
    return isinstance(kind, type) and isinstance(server, kind)


class _Caught(list[int]):
    """The signals that uvicorn caught; it goes through them to raise them again."""

    def __init__(self, caught: list[int], come_back: Callable[[], object]) -> None:
        super().__init__(caught)
        self._come_back = come_back

    def __reversed__(self) -> Iterator[int]:
        self._come_back()
        return super().__reversed__()
