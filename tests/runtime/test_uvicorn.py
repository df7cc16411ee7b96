"""Signal handlers of this library survive uvicorn's shutdown."""

from __future__ import annotations

import signal
import sys
import types
from typing import Any

import pytest
import uvicorn

from odp_logging._runtime.hooks import enter_process
from odp_logging._runtime.signals import handle_signal, install_signal_handlers
from odp_logging._runtime.uvicorn import hook_uvicorn


def new_server() -> Any:
    return uvicorn.Server(uvicorn.Config("never:imported"))


def test_the_hook_is_called_once() -> None:
    """Hooked twice, the signals are unchanged and one call comes before them."""
    server, calls = new_server(), []
    server.handle_exit(signal.SIGTERM, None)
    for _ in range(2):
        hook_uvicorn(server.handle_exit, lambda: calls.append("reraise"))
    server.handle_exit(signal.SIGINT, None)

    assert calls == []
    assert [*reversed(server._captured_signals)] == [signal.SIGINT, signal.SIGTERM]
    assert calls == ["reraise"]


def test_other_handlers_are_not_hooked() -> None:
    """Other handlers, and a uvicorn that raises nothing again, stay unchanged."""
    early = new_server()
    early._captured_signals = None

    class Other:
        _captured_signals = [15]

        def handle(self) -> None: ...

    for handler in (early.handle_exit, Other().handle, signal.SIG_IGN, None):
        hook_uvicorn(handler, pytest.fail)

    assert early._captured_signals is None
    assert type(Other._captured_signals) is list


@pytest.mark.parametrize("attributes", [{}, {"Server": object()}])
def test_a_half_imported_uvicorn_is_not_hooked(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any]
) -> None:
    """Another thread may be importing uvicorn, or a test may have replaced it."""
    module = types.ModuleType("uvicorn.server")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, "uvicorn.server", module)

    hook_uvicorn(new_server().handle_exit, pytest.fail)
    hook_uvicorn(handle_signal, pytest.fail)


def test_the_first_event_installs_the_handler_again(sigterm: None) -> None:
    """If a fork restored the default action, the first event replaces it again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    enter_process()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    install_signal_handlers()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    enter_process()
    assert signal.getsignal(signal.SIGTERM) is handle_signal
