"""Jupyter: a real kernel; cells that run again, restarts and shutdowns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from ..emulated import list_events
from ..waiting import until
from .workers import ROOT, actions

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")
pytestmark = pytest.mark.slow

SET_UP = """
import logging
import odp_logging
logging.getLogger().setLevel(logging.INFO)
logging.getLogger().addHandler(odp_logging.OdpHandler(flush_interval=60))
"""
LOG = """
logging.getLogger("shop").info("view", extra={
    "odp_action": "%s", "odp_identifiers": {"fs_user_id": "user123"}})
"""


class Notebook:
    """A kernel, and what its cells printed."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self._connect()

    def _connect(self) -> None:
        self.client = self.kernel.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, cell: str) -> str:
        """Run *cell* to its end, and return what it printed."""
        printed = []

        def hear(message: dict[str, Any]) -> None:
            printed.append(message["content"].get("text", ""))

        reply = self.client.execute_interactive(cell, output_hook=hear, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    def restart(self, *, now: bool) -> None:
        """Restart the kernel, as the menu does."""
        self.client.stop_channels()
        self.kernel.restart_kernel(now=now)
        self._connect()

    def close(self, *, now: bool) -> None:
        """End the kernel: asked to, or killed."""
        self.client.stop_channels()
        if self.kernel.has_kernel:
            self.kernel.shutdown_kernel(now=now)


@pytest.fixture
def notebook(odp: Emulator, tmp_path: Any) -> Iterator[Notebook]:
    """A kernel of its own process, that sends to *odp*."""
    kernel = manager.KernelManager(kernel_name="python3", transport="ipc")
    kernel.connection_file = str(tmp_path / "kernel.json")
    kernel.ip = str(tmp_path / "k")
    kernel.start_kernel(
        cwd=str(tmp_path),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ODP_API_KEY": "test",
            "ODP_API_HOST": odp.url,
            "IPYTHONDIR": str(tmp_path),
        },
    )
    made = None
    try:
        made = Notebook(kernel)
        yield made
    finally:
        if made is not None:
            made.client.stop_channels()
        if kernel.has_kernel:
            kernel.shutdown_kernel(now=True)


def test_a_cell_that_runs_again(notebook: Notebook, odp: Emulator) -> None:
    """Three runs leave three handlers; each event is sent once, and said why."""
    printed = [notebook.run(SET_UP) + notebook.run(LOG % name) for name in "abc"]
    assert notebook.run("print(len(logging.getLogger().handlers))") == "3\n"
    notebook.run("assert odp_logging.flush(10)")
    assert actions(odp) == {"a": 1, "b": 1, "c": 1}
    assert ["two OdpHandlers" in text for text in printed] == [False, True, True]

    # What a cell that is made to run again does: the newest settings hold.
    again = "logging.basicConfig(force=True, level=20, handlers=[%s])"
    handler = "odp_logging.OdpHandler(default_data={'shop': %d})"
    for number in (1, 2):
        notebook.run(again % handler % number)
        assert notebook.run(LOG % f"forced {number}") == ""
    assert notebook.run("print(len(logging.getLogger().handlers))") == "1\n"
    notebook.run("assert await odp_logging.aflush(10)")
    shops = [event["data"].get("shop") for event in list_events(odp)]
    assert shops == [None, None, None, 1, 2]
    assert sum(actions(odp).values()) == 5


def test_restart_and_shutdown_that_ask(notebook: Notebook, odp: Emulator) -> None:
    """Asked to restart or to end, a kernel delivers what its cells logged."""
    notebook.run(SET_UP + LOG % "before the restart")
    notebook.restart(now=False)
    assert actions(odp) == {"before the restart": 1}

    notebook.run(SET_UP + LOG % "before the end")
    notebook.close(now=False)
    assert actions(odp) == {"before the restart": 1, "before the end": 1}


def test_a_kernel_that_is_killed(notebook: Notebook, odp: Emulator) -> None:
    """SIGKILL leaves what flush_on_return sent, and with a spool everything."""
    spool = SET_UP.replace("flush_interval=60", "spool='spool', durability='crash'")
    notebook.run(SET_UP)
    block = "with odp_logging.flush_on_return(timeout=10):"
    notebook.run(block + (LOG % "flushed").replace("\n", "\n    "))
    notebook.run(LOG % "lost")
    notebook.restart(now=True)
    assert actions(odp) == {"flushed": 1}

    odp.fault(status=503)
    notebook.run(spool + LOG % "kept")
    notebook.restart(now=True)
    odp.clear_faults()
    notebook.run(spool)
    until(lambda: actions(odp)["kept"] == 1, "the event of the spool", 30)
    assert actions(odp) == {"flushed": 1, "kept": 1}
