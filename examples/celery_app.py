"""
Celery tasks that log: each event once, although the pool's processes skip atexit.

Run it (needs `pip install celery`):

    python examples/celery_app.py

You will see five tasks sell five shirts in two worker processes, and that all of them
are delivered when the worker is stopped with SIGTERM, each once. It always uses an
emulator and a broker of files, so that nothing has to be set up.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from celery import Celery
from celery.utils.log import get_task_logger

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator

SALES = 5
BROKER = ("data_folder_in", "data_folder_out", "control_folder")

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = dict.fromkeys(BROKER, os.environ.get("FOLDER"))
app.conf.broker_connection_retry_on_startup = True

# Nothing more is needed: Celery takes handlers off the root logger, but not ours, and
# adds its console in a worker. Where workers are spawned, as on macOS,
# app.conf.worker_hijack_root_logger = False as well.
# A minute, to show that the end delivers; the default is a second.
logging.getLogger().addHandler(OdpHandler(flush_interval=60))
logger = get_task_logger(__name__)


@app.task(name="sell")
def sell(number: int) -> None:
    """Sell a shirt."""
    who = {"fs_user_id": f"user{number}"}
    logger.info("sold", extra={"odp_action": "purchased", "odp_identifiers": who})


def work(folder: str, odp: Emulator) -> None:
    """Run a worker until all is sold, and stop it as a service manager would."""
    command = [sys.executable, "-m", "celery", "--workdir", str(Path(__file__).parent)]
    command += ["-A", "celery_app", "worker", "--concurrency", "2", "--loglevel=INFO"]
    settings = {"FOLDER": folder, "ODP_API_KEY": "test", "ODP_API_HOST": odp.url}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **settings}, **pipes) as worker:
        too_late = threading.Timer(60, worker.kill)
        too_late.start()
        done = (line for line in worker.stderr if "succeeded in" in line)
        for _ in zip(range(SALES), done):
            pass
        print(f"{SALES} tasks are done; delivered so far: {odp.stats()['unique']}")
        worker.terminate()
        worker.communicate()
        too_late.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Emulator() as odp:
        print(f"ODP emulator {odp.page}")
        app.conf.broker_transport_options = dict.fromkeys(BROKER, folder)
        for number in range(SALES):
            sell.delay(number)
        work(folder, odp)
        unique, twice = odp.stats()["unique"], odp.stats()["duplicates"]
        print(f"delivered {unique} of {SALES}, {twice} twice")
    raise SystemExit(0 if (unique, twice) == (SALES, 0) else 1)
