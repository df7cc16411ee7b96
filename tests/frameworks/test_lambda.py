"""AWS Lambda: its own runtime client, frozen after each return, and thawed again.

The client asks a stand-in for Lambda's Runtime API for each invocation. As it gives its
answer, the whole process is stopped by SIGSTOP; before it gets the next, SIGCONT.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from ..emulated import list_events
from ..waiting import until
from .workers import APPS, ROOT, Program, actions, running

pytest.importorskip("awslambdaric")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Lambda runs on Linux"),
]


class Api(BaseHTTPRequestHandler):
    """What Lambda's Runtime API says: the next invocation, and thanks for an answer."""

    protocol_version = "HTTP/1.1"
    server: Cloud

    def do_GET(self) -> None:
        invocation = self.server.invocations.get()
        if invocation is None:
            self.close_connection = True
            return
        number, event = invocation
        self._answer(
            200,
            json.dumps(event).encode(),
            {
                "Content-Type": "application/json",  # it crashes without
                "Lambda-Runtime-Aws-Request-Id": f"request-{number}",
                "Lambda-Runtime-Deadline-Ms": "4102444800000",
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:::shop",
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # Before the client even hears that its answer has come.
        os.kill(self.server.pid, signal.SIGSTOP)
        self._answer(202, b"{}", {})
        self.server.answers.put(body)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Cloud(ThreadingHTTPServer):
    """Invokes one function, one event at a time, and freezes it in between."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        self.invocations: queue.Queue[Any] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.pid = 0
        self._number = 0

    def invoke(self, **event: Any) -> Any:
        """Return the function's answer to *event*; the process is frozen then."""
        self._number += 1
        self.invocations.put((self._number, event))
        os.kill(self.pid, signal.SIGCONT)
        answer = self.answers.get(timeout=30)
        until(self.is_frozen, "the freeze", 30)
        return answer

    def handle_error(self, *_: object) -> None:
        """A function that is killed leaves its connection as it is."""

    def is_frozen(self) -> bool:
        """Whether the kernel has stopped every thread of it."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return {task.read_text().rpartition(")")[2].split()[0] for task in tasks} == {
            "T"
        }


@contextmanager
def cloud(home: Path, odp: Emulator, function: str) -> Iterator[tuple[Cloud, Program]]:
    """Run *function* of the shop as Lambda does."""
    with Cloud() as api:
        threading.Thread(target=api.serve_forever, args=(0.01,), daemon=True).start()
        host = f"127.0.0.1:{api.server_port}"
        with running(
            home,
            *("-m", "awslambdaric", f"lambda_shop.{function}"),
            odp=odp,
            PYTHONPATH=os.pathsep.join([str(APPS), str(ROOT)]),
            AWS_LAMBDA_RUNTIME_API=host,
            AWS_LAMBDA_FUNCTION_NAME="shop",
            AWS_EXECUTION_ENV="AWS_Lambda_python3",
        ) as program:
            api.pid = program.process.pid
            try:
                yield api, program
            finally:
                api.invocations.put(None)
                api.shutdown()


def orders(odp: Emulator) -> list[int]:
    assert actions(odp).keys() <= {"purchased"}  # and none came twice
    return [event["data"]["order"] for event in list_events(odp)]


def test_events_are_there_before_the_freeze(tmp_path: Path, odp: Emulator) -> None:
    """Each invocation's event is delivered by the time its process is frozen."""
    with cloud(tmp_path, odp, "sell") as (api, program):
        for order in range(3):
            assert api.invoke(order=order) == f"order {order}", program.text
            assert orders(odp) == list(range(order + 1))
    requests = [event["data"]["request"] for event in list_events(odp)]
    assert requests == ["request-1", "request-2", "request-3"]


def test_without_the_decorator_they_are_not(tmp_path: Path, odp: Emulator) -> None:
    """The freeze is real: what a thread was to send stays where it is."""
    with cloud(tmp_path, odp, "forgetful") as (api, _):
        for order in range(3):
            assert api.invoke(order=order) == f"order {order}"
    assert orders(odp) == []


def test_a_function_that_fails(tmp_path: Path, odp: Emulator) -> None:
    """The runtime reports the function's own error; the event is delivered."""
    with cloud(tmp_path, odp, "sell") as (api, _):
        answer = api.invoke(order=1, fails=True)
        assert (answer["errorType"], answer["errorMessage"]) == (
            "LookupError",
            "sold out",
        )
        assert orders(odp) == [1]
        assert api.invoke(order=2) == "order 2"
        assert orders(odp) == [1, 2]


def test_what_a_long_freeze_does(tmp_path: Path, odp: Emulator) -> None:
    """Connections that died meanwhile are made anew, and nothing is lost or doubled."""
    with cloud(tmp_path, odp, "sell") as (api, _):
        api.invoke(order=1)
        assert api.is_frozen()
        odp.stop()  # its connections end while nobody can notice
        odp.start()
        api.invoke(order=2)
        assert orders(odp) == [1, 2]


def test_an_outage_over_a_freeze(tmp_path: Path, odp: Emulator) -> None:
    """An outage costs the timeout, is said, and the next invocation catches up."""
    odp.fault(status=503)
    with cloud(tmp_path, odp, "sell") as (api, program):
        assert api.invoke(order=1) == "order 1"
        assert orders(odp) == []
        assert "flush_on_return: 1 event had not left after 2 s" in program.text
        odp.clear_faults()
        api.invoke(order=2)
        assert orders(odp) == [1, 2]
