"""The end of a process: drain deadlines, the registry, and reports of losses."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from odp_logging import OdpClient, flush
from odp_logging._runtime import process, shutdown
from odp_logging._runtime.lock import monotonic
from odp_logging.emulator import Emulator

from .fakes import FakeFlusher


def test_flushers_share_one_deadline(fresh_state: None) -> None:
    """Several flushers, drained twice, take one timeout and not the sum."""
    flushers = [FakeFlusher(0.2), FakeFlusher(0.2), FakeFlusher(0.1)]
    start = time.monotonic()
    shutdown.drain(flushers)  # type: ignore[arg-type]
    shutdown.drain(flushers)  # type: ignore[arg-type]

    assert 0.15 < time.monotonic() - start < 0.4


class SendingFlusher(FakeFlusher):
    """A flusher that sends events for *busy* seconds."""

    def __init__(self, shutdown_timeout: float, busy: float) -> None:
        super().__init__(shutdown_timeout)
        self.busy = busy

    def end_drain(self, deadline: float, limit: float = 0.0) -> bool:
        threading.Event().wait(self.busy)
        self.last_settled_at = monotonic()
        return True


def test_progress_does_not_count_against_the_timeout(fresh_state: None) -> None:
    """Time in which events were sent does not count against the timeout."""
    hung = FakeFlusher(0.2)
    start = time.monotonic()
    shutdown.drain([SendingFlusher(0.2, busy=0.5), hung])  # type: ignore[list-item]

    assert time.monotonic() - start > 0.65
    assert hung.deadlines[-1] - start > 0.65


def test_shutdown_limit_bounds_all_drains(fresh_state: None) -> None:
    """Drains that make progress take at most `shutdown_limit` seconds in all."""
    flushers = [SendingFlusher(10.0, busy=0.2), FakeFlusher(10.0)]
    for flusher in flushers:
        flusher.shutdown_limit = 0.4
    start = time.monotonic()
    for _ in range(3):
        shutdown.drain(flushers)  # type: ignore[arg-type]

    assert 0.35 < time.monotonic() - start < 5


def test_other_threads_do_not_use_up_the_shutdown_time(
    fresh_state: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drains of daemon threads leave the main thread its full timeout."""
    monkeypatch.setattr(process.state, "exit_thread", threading.get_ident())
    flushers = [FakeFlusher(0.2)]
    daemons = [
        threading.Thread(target=shutdown.drain, args=(flushers,), daemon=True)
        for _ in range(3)
    ]
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.join()
    start = time.monotonic()
    shutdown.drain(flushers)  # type: ignore[arg-type]

    assert 0.15 < time.monotonic() - start < 0.4


def test_other_threads_share_one_deadline(
    fresh_state: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that log during the exit wait one timeout, not one for each event."""
    monkeypatch.setattr(process.state, "exit_thread", threading.get_ident())
    flushers = [FakeFlusher(0.2)]

    def log_on() -> None:
        for _ in range(10):
            shutdown.drain(flushers)  # type: ignore[arg-type]

    others = [threading.Thread(target=log_on) for _ in range(2)]
    start = time.monotonic()
    for other in others:
        other.start()
    for other in others:
        other.join()

    assert 0.15 < time.monotonic() - start < 1.0


def test_a_done_flusher_is_removed(fresh_state: None) -> None:
    """Registering a flusher removes those that are done."""
    done, next_one = FakeFlusher(0, done=True), FakeFlusher(0)
    shutdown.register(done)  # type: ignore[arg-type]
    shutdown.register(next_one)  # type: ignore[arg-type]

    assert done not in shutdown.get_registered()
    next_one.done = True
    shutdown.register(FakeFlusher(0, done=True))  # type: ignore[arg-type]
    assert next_one not in shutdown.get_registered()


def test_a_collected_client_delivers(emulator: Emulator) -> None:
    """A client without references still delivers its events."""
    client = OdpClient(
        "test-key-that-nobody-may-see", api_host=emulator.url, flush_interval=60
    )
    client.send_odp_event("sold", {"fs_user_id": "u1"})
    del client
    gc.collect()

    assert emulator.wait_for(1, 10)


def test_flush_covers_all_clients(emulator: Emulator) -> None:
    """One call of flush() flushes every client of the process."""
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


def test_losses_are_reported(
    fresh_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of lost events is one line on stderr; no loss writes no line."""
    shutdown._report_undelivered(3, 0.1, has_destination=True)
    shutdown._report_undelivered(0, 0.1, has_destination=True)

    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "exiting with 3 undelivered events after 0.1 s" in output
    assert "shutdown_timeout" in output


def test_late_losses_are_reported_once(
    fresh_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses of several exit callbacks after the last drain write one line in all."""
    for _ in range(5):
        shutdown._report_undelivered(1, 0.1, has_destination=False)

    output = capsys.readouterr().err
    assert output.count("\n") == 2
    assert "set ODP_API_KEY" in output
    assert "all events logged from here on" in output
