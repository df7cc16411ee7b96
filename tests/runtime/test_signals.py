"""Signal handlers: which actions they replace, and on which thread."""

from __future__ import annotations

import signal
import threading

from odp_logging._runtime.signals import handle_signal, install_signal_handlers


def test_the_default_action_is_replaced(sigterm: None) -> None:
    """The default action is replaced, and a second call returns True as well."""
    assert install_signal_handlers()
    assert install_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is handle_signal


def test_an_application_handler_stays(sigterm: None) -> None:
    """A handler that the application installed is not replaced."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    assert not install_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_only_the_main_thread_installs_handlers(sigterm: None) -> None:
    """On another thread nothing is replaced and nothing is raised."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(install_signal_handlers()))
    thread.start()
    thread.join(10)

    assert answers == [False]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
