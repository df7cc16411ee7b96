"""Celery: a real worker, its children, and every way they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..emulated import list_events
from ..waiting import until
from .workers import APPS, ROOT, Program, actions, running

DEFAULTS = pytest.importorskip("celery.app.defaults").DEFAULTS
pytestmark = pytest.mark.slow


@contextmanager
def worker(
    home: Path, odp: Emulator, tasks: str, *options: str, **environment: str
) -> Iterator[Program]:
    """Run a worker of the shop on *tasks*, which were queued before it starts."""
    # Before: a broker of files may read one that another process still writes.
    for folder in ("queue", "control"):
        (home / folder).mkdir()
    subprocess.run(
        [sys.executable, "-c", f"from celery_shop import *\n{tasks}"],
        env={
            **os.environ,
            "SHOP_HOME": str(home),
            "SHOP_QUIET": "1",
            "PYTHONPATH": os.pathsep.join([str(APPS), str(ROOT)]),
        },
        check=True,
        timeout=30,
    )
    with running(
        home,
        *("-m", "celery", "--workdir", APPS, "-A", "celery_shop", "worker"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "INFO", *options),
        odp=odp,
        SHOP_HOME=str(home),
        **environment,
    ) as program:
        program.wait_for("ready in ")
        yield program


SALES = "for number in range(4): sell.delay(number)"


def wait_for_sales(program: Program) -> None:
    """Wait until each task has come to its last act."""
    for number in range(4):
        program.wait_for(f"sold {number} in ")


def pids(program: Program) -> dict[int, int]:
    """Return which process sold what, as the program printed it."""
    return {
        int(number): int(pid)
        for number, pid in re.findall(r"sold (\d+) in (\d+)", program.text)
    }


def sold(odp: Emulator) -> dict[int, int]:
    """Return which process sold what, as its events say."""
    return {
        event["data"]["number"]: event["data"]["pid"]
        for event in list_events(odp)
        if event["action"] == "sold"
    }


@pytest.mark.parametrize(
    "environment",
    [{}, {"SHOP_KEEPS_ROOT": "1"}, {"SHOP_START": "spawn", "SHOP_KEEPS_ROOT": "1"}],
    ids=["hijacked", "not hijacked", "spawn"],
)
def test_prefork_ends_warmly(
    tmp_path: Path, odp: Emulator, environment: dict[str, str]
) -> None:
    """SIGTERM: each event once, from its own process, receivers' of Celery too."""
    if "SHOP_START" in environment and "worker_pool_start_method" not in DEFAULTS:
        pytest.skip("this Celery only forks")
    with worker(tmp_path, odp, SALES, "--concurrency", "2", **environment) as program:
        wait_for_sales(program)
        assert actions(odp)["sold"] == 0  # all of them wait for the end

        assert program.end(signal.SIGTERM) == 0
    found = actions(odp)
    assert found["sold"] == 4
    assert (found["closing"], found["closed"], found["ready"]) == (2, 2, 1)
    # A spawned child loads the module, and says so, like any other program.
    assert found["loaded"] == (3 if "SHOP_START" in environment else 1)
    assert sold(odp) == pids(program)
    assert program.process.pid not in sold(odp).values()
    assert "undelivered" not in program.text


def test_prefork_children_are_replaced(tmp_path: Path, odp: Emulator) -> None:
    """max_tasks_per_child: a child that retires delivers before it goes."""
    options = ("--concurrency", "1", "--max-tasks-per-child", "2")
    with worker(tmp_path, odp, SALES, *options) as program:
        wait_for_sales(program)
        until(lambda: actions(odp)["sold"] == 4, "four sales", 30)

        assert program.end(signal.SIGTERM) == 0
    assert sold(odp) == pids(program)
    assert len(set(pids(program).values())) == 2
    assert actions(odp)["closing"] >= 2


def test_a_task_that_is_revoked_and_terminated(tmp_path: Path, odp: Emulator) -> None:
    """A SIGTERM to a child in the middle of a task: what it logged is delivered."""
    with worker(tmp_path, odp, "be_killed.delay()", "-c", "1") as program:
        program.wait_for("doomed in ")
        [pid] = re.findall(r"doomed in (\d+)", program.text)
        os.kill(int(pid), signal.SIGTERM)

        assert odp.wait_for(unique=1, timeout=20)
    assert actions(odp)["doomed"] == 1


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_pools_without_children(tmp_path: Path, odp: Emulator, pool: str) -> None:
    """Threads, or none: the worker's own end delivers."""
    with worker(tmp_path, odp, SALES, "--pool", pool, "--concurrency", "2") as program:
        wait_for_sales(program)

        assert program.end(signal.SIGTERM) == 0
    assert actions(odp)["sold"] == 4
    assert set(sold(odp).values()) == {program.process.pid}


def test_eager_and_returning(tmp_path: Path, odp: Emulator) -> None:
    """Tasks may run where they are called; flush_on_return beats even kill -9."""
    home = str(tmp_path)
    eager = running(
        tmp_path, APPS / "celery_shop.py", odp=odp, SHOP_HOME=home, SHOP_EAGER="1"
    )
    with eager as program:
        assert program.end() == -signal.SIGKILL
        assert "shop.sell_surely: surely in " in program.text
    assert actions(odp) == {"loaded": 1, "sold": 3, "sold surely": 1}


def test_odp_is_down_at_the_end(tmp_path: Path, odp: Emulator) -> None:
    """Each child waits for shutdown_timeout once, and says what is lost."""
    settings = {"ODP_SHUTDOWN_TIMEOUT": "0.5"}
    with worker(tmp_path, odp, SALES, "--concurrency", "2", **settings) as program:
        wait_for_sales(program)
        odp.fault(status=503)

        assert program.end(signal.SIGTERM) == 0
    lost = re.findall(r"exiting with (\d+) undelivered event", program.text)
    assert len(lost) >= 3  # of two children and the worker itself
    assert actions(odp) == {}


BILLIARD = """
import logging, os
import billiard
from odp_logging import OdpHandler
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler(flush_interval=60))

def log(action):
    logger.info(action, extra={
        "odp_action": action, "odp_identifiers": {"fs_user_id": "user123"}})

log("parent")
child = billiard.Process(target=log, args=("child",))
child.start()
child.join()
assert child.exitcode == 0
"""


def test_a_process_of_billiard(tmp_path: Path, odp: Emulator) -> None:
    """One that is no child of Celery's delivers in billiard's finalisers."""
    with running(tmp_path, "-c", BILLIARD, odp=odp) as program:
        assert program.end() == 0, program.text
    assert actions(odp) == {"parent": 1, "child": 1}
