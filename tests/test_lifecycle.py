"""What the library does at the interpreter's end, in forks, for signals."""

from __future__ import annotations

import gc
import logging
import logging.config
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import OdpClient, _lifecycle, flush
from odp_logging.emulator import Emulator


class Line:
    """Something to drain that takes as long as it is given."""

    def __init__(self, shutdown_timeout: float, *, done: bool = False) -> None:
        self.shutdown_timeout = shutdown_timeout
        self.deadlines: list[float] = []
        self.done = done

    def begin_drain(self, deadline: float) -> None:
        self.deadlines.append(deadline)

    def end_drain(self, deadline: float) -> bool:
        # Nobody sets it: it is here to wait.
        threading.Event().wait(max(0.0, deadline - time.monotonic()))
        return False

    def is_done(self) -> bool:
        return self.done


@pytest.fixture
def sigterm() -> Iterator[None]:
    """SIGTERM is as it was, before and after."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def unspent() -> Iterator[None]:
    """What a test spends of this process's time for its end is given back."""
    before = _lifecycle._spent, _lifecycle._beside
    _lifecycle._spent = _lifecycle._beside = 0.0
    yield
    _lifecycle._spent, _lifecycle._beside = before


def test_lines_share_one_deadline(unspent: None) -> None:
    """Many lines, drained together and again, take one timeout and not their sum."""
    lines = [Line(0.2), Line(0.2), Line(0.1)]
    start = time.monotonic()
    _lifecycle.drain(lines)  # type: ignore[arg-type]
    _lifecycle.drain(lines)  # type: ignore[arg-type]

    assert 0.15 < time.monotonic() - start < 0.4


def test_other_threads_spend_nothing_of_the_end(
    unspent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What daemon threads wait beside the main one leaves the end all of its time."""
    monkeypatch.setattr(_lifecycle, "_ender", threading.get_ident())
    lines = [Line(0.2)]
    daemons = [
        threading.Thread(target=_lifecycle.drain, args=(lines,), daemon=True)
        for _ in range(3)
    ]
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.join()
    start = time.monotonic()
    _lifecycle.drain(lines)  # type: ignore[arg-type]

    assert 0.15 < time.monotonic() - start < 0.4


def test_other_threads_share_one_deadline(
    unspent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that log on after the end began wait one timeout, not one an event."""
    monkeypatch.setattr(_lifecycle, "_ender", threading.get_ident())
    lines = [Line(0.2)]

    def log_on() -> None:
        for _ in range(10):
            _lifecycle.drain(lines)  # type: ignore[arg-type]

    others = [threading.Thread(target=log_on) for _ in range(2)]
    start = time.monotonic()
    for other in others:
        other.start()
    for other in others:
        other.join()

    assert 0.15 < time.monotonic() - start < 1.0


def test_a_fork_beside_who_configures_logging() -> None:
    """A fork waits for logging's lock without ours: who has it may want them."""
    ours, taken, got = threading.Lock(), threading.Event(), []
    module_lock: Any = logging._lock  # type: ignore[attr-defined]

    class Forked(Line):
        def before_fork(self, deadline: float) -> None:
            ours.acquire()
            taken.set()

        def after_fork_in_parent(self) -> None:
            ours.release()

        def after_fork(self) -> None:
            pass

    def configure() -> None:
        with module_lock:
            holds.set()
            taken.wait(20)
            got.append(ours.acquire(timeout=20))
            ours.release()

    holds = threading.Event()
    thread = threading.Thread(target=configure)
    thread.start()
    holds.wait(20)
    line = Forked(0)
    _lifecycle.register(line)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest has threads
        pid = os.fork()
    if pid == 0:
        logging.getLogger("a new one")  # waits for the lock
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    thread.join()
    line.done = True

    assert status == 0
    assert got == [True]
    assert not ours.locked() and not _lifecycle.owns_module_lock()


def test_a_fork_that_waited_in_vain_leaves_the_lock_to_its_owner() -> None:
    """Of two threads that fork at once, the one with logging's lock gives it back."""
    _lifecycle._take_module_lock(0.0)
    other = threading.Thread(target=_lifecycle._give_module_lock_back)
    other.start()
    other.join()
    _lifecycle._give_module_lock_back()

    assert not _lifecycle.owns_module_lock()


def test_a_line_that_is_done_is_let_go() -> None:
    """Registering a line lets go of those that are done."""
    done, next_one = Line(0, done=True), Line(0)
    _lifecycle.register(done)  # type: ignore[arg-type]
    _lifecycle.register(next_one)  # type: ignore[arg-type]

    assert done not in _lifecycle.registered()
    next_one.done = True
    _lifecycle.register(Line(0, done=True))  # type: ignore[arg-type]
    assert next_one not in _lifecycle.registered()


def test_a_collected_client_delivers(emulator: Emulator) -> None:
    """A client that nobody holds any more still delivers what it was given."""
    client = OdpClient(
        "test-key-that-nobody-may-see", api_host=emulator.url, flush_interval=60
    )
    client.send_odp_event("sold", {"fs_user_id": "u1"})
    del client
    gc.collect()

    assert emulator.wait_for(1, 10)


def test_module_lock_is_known() -> None:
    """Whoever configures logging holds its lock, and that is seen."""
    seen: list[bool] = []

    class Asking(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            seen.append(_lifecycle.owns_module_lock())

    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": False,
            "disable_existing_loggers": False,
            "handlers": {"asking": {"()": Asking}},
        }
    )

    assert seen == [True]
    assert not _lifecycle.owns_module_lock()


def test_sigterm_is_taken_once(sigterm: None) -> None:
    """The default action is replaced, and that it was is said again."""
    assert _lifecycle.handle_sigterm()
    assert _lifecycle.handle_sigterm()
    assert signal.getsignal(signal.SIGTERM) is _lifecycle._on_sigterm


def test_a_handler_is_kept(sigterm: None) -> None:
    """A handler of the application's stays where it is."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    assert not _lifecycle.handle_sigterm()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_only_the_main_thread_takes_it(sigterm: None) -> None:
    """On another thread nothing is replaced and nothing raised."""
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(_lifecycle.handle_sigterm())
    )
    thread.start()
    thread.join(10)

    assert answers == [False]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_flush_of_all(emulator: Emulator) -> None:
    """One call flushes every client of the process."""
    clients = [
        OdpClient(
            "test-key-that-nobody-may-see", api_host=emulator.url, flush_interval=60
        )
        for _ in range(2)
    ]
    for client in clients:
        client.send_odp_event("sold", {"fs_user_id": "u1"})

    assert flush(10)
    assert emulator.stats()["unique"] == 2
    for client in clients:
        client.close()


def test_losses_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """How many events are lost is one line on stderr; without a loss there is none."""
    _lifecycle._told = 0
    _lifecycle._tell_lost(3, 0.1, reachable=True)
    _lifecycle._tell_lost(0, 0.1, reachable=True)

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "exiting with 3 undelivered events after 0.1 s" in said
    assert "shutdown_timeout" in said


def test_late_losses_are_said_once_more(capsys: pytest.CaptureFixture[str]) -> None:
    """What exit callbacks lose one by one after the last drain is one line in all."""
    _lifecycle._told = 0
    for _ in range(5):
        _lifecycle._tell_lost(1, 0.1, reachable=False)
    _lifecycle._told = 0

    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert "set ODP_API_KEY" in said
    assert "all that is logged from here on" in said


def test_this_process_is_no_child() -> None:
    """Entering a process that `multiprocessing` did not make registers nothing."""
    hooked = _lifecycle._hooked_pid
    _lifecycle.enter_process()

    assert _lifecycle._hooked_pid == hooked != os.getpid()
