"""What is done for a server that raises again the signal that ended it."""

from __future__ import annotations

import signal
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from odp_logging import _lifecycle
from odp_logging._uvicorn import follow


def new_server() -> Any:
    return uvicorn.Server(uvicorn.Config("nobody:imports_it"))


def test_it_comes_back_once() -> None:
    """Followed twice, the signals are as they were, and one call comes before them."""
    server, calls = new_server(), []
    server.handle_exit(signal.SIGTERM, None)
    for _ in range(2):
        follow(server.handle_exit, lambda: calls.append("back"))
    server.handle_exit(signal.SIGINT, None)

    assert calls == []
    assert [*reversed(server._captured_signals)] == [signal.SIGINT, signal.SIGTERM]
    assert calls == ["back"]


def test_others_are_left_alone() -> None:
    """Any other handler, and a uvicorn that raises nothing again, stay as they are."""
    early = new_server()
    early._captured_signals = None

    class Other:
        _captured_signals = [15]

        def handle(self) -> None: ...

    for handler in (early.handle_exit, Other().handle, signal.SIG_IGN, None):
        follow(handler, pytest.fail)

    assert early._captured_signals is None
    assert type(Other._captured_signals) is list


@pytest.mark.parametrize("attributes", [{}, {"Server": object()}])
def test_a_half_imported_uvicorn_is_nobody(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any]
) -> None:
    """Another thread may be importing it, or a test have put something in its place."""
    module = types.ModuleType("uvicorn.server")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, "uvicorn.server", module)

    follow(new_server().handle_exit, pytest.fail)
    follow(_lifecycle._on_sigterm, pytest.fail)


@pytest.fixture
def sigterm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM's action is put back, and nobody has asked for it yet."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(_lifecycle, "_wants_sigterm", False)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_process_takes_it_anew(sigterm: None) -> None:
    """Where a fork put the default action back, the first event replaces it again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _lifecycle.enter_process()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    _lifecycle.handle_sigterm()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _lifecycle.enter_process()
    assert signal.getsignal(signal.SIGTERM) is _lifecycle._on_sigterm
