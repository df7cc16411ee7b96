"""A shop whose sales are Celery tasks, and who logs wherever Celery lets one."""

from __future__ import annotations

import logging
import os
import signal

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready
from celery.utils.log import get_task_logger
from kombu.transport import TRANSPORT_ALIASES, filesystem

from odp_logging import OdpHandler, flush_on_return

HOME = os.environ["SHOP_HOME"]
QUEUE = os.path.join(HOME, "queue")

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
task_logger = get_task_logger(__name__)


class Impatient(filesystem.Transport):
    """A broker of files, for a worker that is to see within 2 s that it shall end."""

    def drain_events(self, connection: object, timeout: float | None = None) -> None:
        super().drain_events(connection, timeout=0.05)


TRANSPORT_ALIASES["impatient"] = f"{__name__}:Impatient"
app = Celery("shop", broker="impatient://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": QUEUE,
        "data_folder_out": QUEUE,
        "control_folder": os.path.join(HOME, "control"),
        "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=True,
    task_always_eager=bool(os.environ.get("SHOP_EAGER")),
    worker_pool_start_method=os.environ.get("SHOP_START", "fork"),
    worker_hijack_root_logger=not os.environ.get("SHOP_KEEPS_ROOT"),
)


def log(action: str, number: int = 0, to: logging.Logger = logger) -> None:
    to.info(
        action,
        extra={
            "odp_action": action,
            "odp_identifiers": {"fs_user_id": "user123"},
            "odp_data": {"number": number, "pid": os.getpid()},
        },
    )


@app.task
def sell(number: int) -> None:
    # What it does last, and nothing after it waits for a delivery.
    log("sold", number, to=task_logger if number % 2 else logger)
    note(f"sold {number}")


@app.task
@flush_on_return
def sell_surely() -> str:
    log("sold surely")
    return "surely"


@app.task
def be_killed() -> None:
    log("doomed")
    note("doomed")
    signal.pause()


def note(line: str) -> None:
    """Print one line from whichever process this is, past Celery's redirection."""
    os.write(1, f"{line} in {os.getpid()}\n".encode())


@worker_ready.connect
def ready(**_: object) -> None:
    log("ready")
    note("ready")


@worker_process_shutdown.connect
def closing(**_: object) -> None:
    log("closing")


@worker_process_init.connect
def opening(**_: object) -> None:
    # Connected after ours: what it logs comes after the drain.
    worker_process_shutdown.connect(closed, weak=False)


def closed(**_: object) -> None:
    log("closed")


if not os.environ.get("SHOP_QUIET"):
    logging.getLogger().addHandler(OdpHandler(flush_interval=60))
    log("loaded")

if __name__ == "__main__":
    logging.getLogger().setLevel(logging.INFO)
    for number in range(3):
        sell.delay(number)
    note(f"{sell_surely.name}: {sell_surely.delay().get()}")
    os.kill(os.getpid(), signal.SIGKILL)
