"""Checkpoints are made when batches are settled, and only on files that are owned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from odp_logging._events.delivery import Delivery
from odp_logging._stores.spool.store import Spool

from ..contract import event
from .spools import drain, list_files, make_spool


def make_large_spool(tmp_path: Path) -> Spool:
    """Return a spool with a large limit."""
    limits = {"batch_size": 500, "batch_bytes": 2**30, "max_bytes": 2**30}
    return make_spool(tmp_path / "spool", **limits)


def test_settling_makes_the_checkpoint(tmp_path):
    """put() only appends to the write-ahead log."""
    store = make_large_spool(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(4)}
    for number in range(550):
        store.put(event(number, **text))
    (file,) = list_files(store.spool_dir)
    before = file.stat().st_size
    store.settle(store.take(), Delivery(500))
    after = file.stat().st_size

    assert before < 100_000
    assert after > 2_000_000
    store.put(event(550))
    assert len(drain(store)) == 51
    store.close()
    assert list(store.spool_dir.iterdir()) == []


def test_a_checkpoint_does_not_touch_other_files(tmp_path):
    """A deleted or released file is not checkpointed; no event is lost."""
    store: Any = make_large_spool(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(4)}
    for number in range(1200):
        store.put(event(number, **text))
    batch = store.take()
    shutil.rmtree(store.spool_dir)
    store.settle(batch, Delivery(500))
    assert not store.spool_dir.exists()
    store.put(event(1200))
    own = store._own.file
    store.discard("exit")
    own.checkpointer.log_bytes = 2**30
    own.checkpointer.run_if_needed()

    assert own.checkpointer._connection is None
    assert drain(make_large_spool(tmp_path)) == list(range(500, 1201))


def test_the_log_is_bounded_without_settling(tmp_path):
    """A put makes the checkpoint once the log has 8 MB."""
    store = make_large_spool(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(8)}
    for number in range(1, 4000):
        store.put(event(number, **text))
    (file,) = list_files(store.spool_dir)

    assert file.with_name(f"{file.name}-wal").stat().st_size < 10_000_000


def test_a_running_checkpoint_closes_its_connection(tmp_path, monkeypatch):
    """Closing a file during a checkpoint leaves no connection open."""
    store: Any = make_large_spool(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(4)}
    for number in range(550):
        store.put(event(number, **text))
    own = store._own.file

    def set_closed(connection: Any) -> None:
        own.checkpointer._is_closed = True

    monkeypatch.setattr("odp_logging._stores.spool.checkpoint.keep_open", set_closed)
    own.checkpointer.log_bytes = 2**30
    own.checkpointer.run_if_needed()

    assert own.checkpointer._connection is None
