"""
A notebook's cells, run by a real kernel: one of them twice, and no event twice.

Run it (needs `pip install ipykernel nbclient`):

    python examples/notebook.py

You will see the cells, that three events are delivered of three log calls although the
first cell ran twice, and that the kernel delivers what is left when it ends. With no
ODP_API_KEY set they go to an emulator on this machine; with one, to your account.
"""

from __future__ import annotations

import contextlib
import os

import nbformat
from nbclient import NotebookClient

from odp_logging.emulator import Emulator

# force=True puts the new handler in the place of the old one, and delivers what that
# one holds. Without it there are two, and still each event is sent once.
SET_UP = """\
import logging
import odp_logging

logging.basicConfig(
    level=logging.INFO,
    force=True,
    handlers=[logging.StreamHandler(), odp_logging.OdpHandler()],
)
logger = logging.getLogger("shop")"""

LOG = """\
logger.info("view", extra={
    "odp_action": "viewed",
    "odp_identifiers": {"fs_user_id": "user123"},
    "odp_data": {"page": "%s"},
})"""

# What is left is delivered when the kernel is shut down or restarted. A killed one
# has no time to: a notebook that runs by itself may end with this cell.
LAST = "assert await odp_logging.aflush(timeout=10)"

CELLS = [SET_UP, LOG % "home", SET_UP, LOG % "shirts", LOG % "cart", LAST]


def main() -> int:
    """Run the cells; return 0 if each of the three events came once."""
    with contextlib.ExitStack() as stack:
        odp = None
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            os.environ |= {"ODP_API_KEY": "test", "ODP_API_HOST": odp.url}

        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]
        )
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
        for cell in notebook.cells:
            print(f"In [{cell.execution_count}]:", cell.source.splitlines()[0], "...")
        if odp is None:
            return 0  # the last cell says whether all was delivered
        print(f"delivered {odp.stats()['received']} of 3")
        return 0 if odp.stats()["received"] == odp.stats()["unique"] == 3 else 1


if __name__ == "__main__":
    raise SystemExit(main())
