"""Workers that their library forks and that leave by os._exit, past atexit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..emulated import list_events
from ..redis_server import RedisServer, needs_redis
from .workers import APPS, ROOT, actions, running

pytestmark = pytest.mark.slow

SHOP = """
import logging, os, sys
from odp_logging import OdpHandler
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)

def open_shop():
    logger.addHandler(OdpHandler(flush_interval=60))

def log(action):
    if not logger.handlers:
        open_shop()
    logger.info(action, extra={
        "odp_action": action, "odp_identifiers": {"fs_user_id": "user123"},
        "odp_data": {"pid": os.getpid()}})
"""

COPIES = """
import {library} as processes
from shop import log, open_shop

if __name__ == "__main__":
    open_shop()
    log("parent")
    context = processes.get_context("{method}")
    for name in ("first", "second"):
        child = context.Process(target=log, args=(name,))
        child.start()
        child.join()
        assert child.exitcode == 0
    pool = context.Pool(2)
    pool.map(log, ["third", "fourth"])
    pool.close()
    pool.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("library", ["multiprocess", "multiprocessing"])
def test_processes_of_a_copy_of_multiprocessing(
    tmp_path: Path, odp: Emulator, library: str, method: str
) -> None:
    """Processes and pools of dill's multiprocess deliver like the originals."""
    pytest.importorskip(library)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "main.py").write_text(COPIES.format(library=library, method=method))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with running(tmp_path, tmp_path / "main.py", odp=odp, PYTHONPATH=path) as program:
        assert program.end() == 0, program.text

    names = ("parent", "first", "second", "third", "fourth")
    assert actions(odp) == dict.fromkeys(names, 1)
    assert program.text == ""


SERVER = """
import socketserver, threading, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from shop import log, open_shop

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        log(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *about):
        pass

class Server(socketserver.ForkingMixIn, HTTPServer):
    pass

open_shop()
server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for path in ("/one", "/two", "/three"):
    opener.open(f"http://127.0.0.1:{server.server_port}{path}", timeout=10).close()
server.shutdown()
server.server_close()
"""


def test_children_of_a_forking_server(tmp_path: Path, odp: Emulator) -> None:
    """A server that forks for each request: what its children log is delivered."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "main.py").write_text(SERVER)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with running(tmp_path, tmp_path / "main.py", odp=odp, PYTHONPATH=path) as program:
        assert program.end() == 0, program.text

    assert actions(odp) == {"/one": 1, "/two": 1, "/three": 1}
    assert len({event["data"]["pid"] for event in list_events(odp)}) == 3


UNTOUCHED = """
import os, time
from shop import log, open_shop
open_shop()
real = os._exit
log("parent")
assert os._exit is real
if (child := os.fork()) == 0:
    # Nothing was logged here: it ends at once, whatever the parent has in hand.
    assert os._exit is real
    if os.fork() == 0:
        log("grandchild")
        assert os._exit is not real
        os._exit(status=5)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_os_exit_is_replaced_only_in_a_child_with_events(
    tmp_path: Path, odp: Emulator
) -> None:
    """os._exit stays what it is in the first process and in children without events."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "main.py").write_text(UNTOUCHED)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with running(tmp_path, tmp_path / "main.py", odp=odp, PYTHONPATH=path) as program:
        assert program.end() == 0, program.text

    assert program.text == "5\n"
    assert actions(odp) == {"parent": 1, "grandchild": 1}


RQ = """
import sys
from redis import Redis
from rq import Queue, {worker} as Worker
connection = Redis.from_url(sys.argv[1])
queue = Queue("shop", connection=connection)
for number in range(3):
    queue.enqueue("rq_shop.sell", number)
queue.enqueue("rq_shop.fail", 3)
{first}
Worker([queue], connection=connection).work(burst=True, logging_level="WARNING")
"""


@needs_redis
@pytest.mark.parametrize(
    ("worker", "first"),
    [("Worker", ""), ("Worker", "import rq_shop"), ("SpawnWorker", "")],
    ids=["imported by the work horse", "imported before the fork", "spawned"],
)
def test_work_horses_of_rq(
    tmp_path: Path, odp: Emulator, worker: str, first: str
) -> None:
    """Each job of rq runs in a process of its own, which delivers before it ends."""
    rq = pytest.importorskip("rq")
    if not hasattr(rq, worker):
        pytest.skip(f"this rq has no {worker}")
    (tmp_path / "main.py").write_text(RQ.format(worker=worker, first=first))
    path = os.pathsep.join([str(APPS), str(ROOT)])
    with (
        RedisServer(tmp_path / "redis") as server,
        running(
            tmp_path, tmp_path / "main.py", server.url, odp=odp, PYTHONPATH=path
        ) as program,
    ):
        assert program.end() == 0, program.text

    sold = {event["data"]["number"]: event["data"]["pid"] for event in list_events(odp)}
    assert actions(odp) == {"sold": 4}
    assert sorted(sold) == [0, 1, 2, 3]
    assert len({*sold.values(), program.process.pid}) == 5
