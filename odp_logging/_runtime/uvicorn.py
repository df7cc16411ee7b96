"""Keep this library's signal handlers in place while uvicorn shuts down.

`signals` calls this module. uvicorn handles SIGTERM while it serves. After its
graceful shutdown it restores the action that it found, mostly the default one, and
raises the signal again (0.29 and later): the process ends at once, without atexit. An
application that uvicorn imports, and each process of ``--workers`` and ``--reload``, is
loaded too late to install the action that uvicorn restores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any


def hook_uvicorn(handler: object, on_reraise: Callable[[], object]) -> None:
    """
    Call *on_reraise* just before uvicorn raises captured signals again.

    Args:
        handler: The current handler of the signal; ignored if it is not uvicorn's.
        on_reraise: Called on the main thread, after uvicorn restored the old action.
    """
    server: Any = getattr(handler, "__self__", None)
    if not _is_server(server):
        return
    captured = getattr(server, "_captured_signals", None)
    # None before 0.29. There the process ends normally, and atexit suffices.
    if type(captured) is list:
        server._captured_signals = _CapturedSignals(captured, on_reraise)


def _is_server(server: object) -> bool:
    # None while another thread imports uvicorn; not a class if a test put a mock there.
    server_class = getattr(sys.modules.get("uvicorn.server"), "Server", None)
    return isinstance(server_class, type) and isinstance(server, server_class)


class _CapturedSignals(list[int]):
    """Signals captured by uvicorn, which iterates over them to raise them again."""

    def __init__(self, signums: list[int], on_reraise: Callable[[], object]) -> None:
        super().__init__(signums)
        self._on_reraise = on_reraise

    # `Server.capture_signals` raises them last in, first out.
    def __reversed__(self) -> Iterator[int]:
        self._on_reraise()
        return super().__reversed__()
