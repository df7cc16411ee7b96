"""Middleware that binds the user of a request, in real servers and under load."""

from __future__ import annotations

import http.client
import os
import random
import threading
from collections import Counter
from urllib.parse import urlsplit

import pytest

from odp_logging.emulator import Emulator

from .conftest import Serve

pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("TEST_MIXED_REQUESTS", "2000"))
"""Requests to each server. With 20,000 it is 100,000 and more in all."""

CLIENTS = 8
WSGI = "gunicorn --bind 127.0.0.1:{port} --workers 1 --log-level critical"
ASGI = "uvicorn --port {port} --log-level critical"
SERVERS = {
    "gunicorn threads": f"{WSGI} --threads 4 identified.wsgi_shop:app",
    "gunicorn gevent": f"{WSGI} --worker-class gevent identified.wsgi_shop:app",
    "Flask": f"{WSGI} --threads 4 identified.flask_shop:app",
    "Django": f"{WSGI} --threads 4 identified.django_shop:create_wsgi()",
    "uvicorn": f"{ASGI} identified.fastapi_shop:app",
    "Django, asynchronous": f"{ASGI} --factory identified.django_shop:create_asgi",
}
PATHS = {
    "uvicorn": ("buy", "buy_async", "stream", "fail"),
    "Django, asynchronous": ("buy", "buy_async", "stream_async", "fail"),
}


class Visitors:
    """Send mixed requests from several threads, each over one kept connection."""

    def __init__(self, url: str, paths: tuple[str, ...]) -> None:
        self._address = urlsplit(url)
        self._paths = paths
        self.errors: list[BaseException] = []

    def send(self, count: int) -> None:
        """Send *count* requests and read the answers."""
        threads = [
            threading.Thread(target=self._visit, args=(number, count // CLIENTS))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit(self, number: int, count: int) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection(
            str(self._address.hostname), self._address.port, timeout=30
        )
        try:
            for index in range(count):
                self._ask(connection, chance, f"{number}-{index}")
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, chance: random.Random, user: str
    ) -> None:
        path = chance.choice(("health", *self._paths))
        query = f"?user={user}" if chance.random() < 0.7 else ""
        connection.request("GET", f"/{path}{query}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (500 if path == "fail" else 200)
        if path == "fail":
            connection.close()  # uvicorn closes it after an error


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SERVERS)
def test_each_event_has_the_identifiers_of_its_own_request(
    serve: Serve, odp: Emulator, name: str
) -> None:
    """No event has another user's identifiers, and each has those of its user."""
    server = serve(SERVERS[name], flush_interval=0.1)
    visitors = Visitors(server.url, PATHS.get(name, ("buy", "stream", "fail")))
    wrong: list[object] = []
    seen: Counter[str] = Counter()
    last = 0

    def read_ledger() -> None:
        nonlocal last
        for entry in odp.events(since=last):
            assert entry["n"] == last + 1, "entries were dropped before they were read"
            last = entry["n"]
            event = entry["event"]
            user = event["identifiers"].get("fs_user_id", "")
            seen[event["action"], bool(user)] += 1
            if user != event["data"]["user"]:
                wrong.append(event)

    for _ in range(max(1, REQUESTS // 1000)):
        visitors.send(min(REQUESTS, 1000))
        read_ledger()
    server.stop()
    read_ledger()

    assert visitors.errors == []
    assert wrong == []
    for action in ("streamed", "sold", "failed"):
        assert seen[action, True] > 50
        assert seen[action, False] > 20
    assert seen["arrived", False] > REQUESTS * 0.9
    assert not seen["arrived", True]
