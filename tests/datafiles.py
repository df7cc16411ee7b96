"""Optimizely datafiles, and a server that hands the latest one out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from .conftest import KEY

_revisions = count(1)


def datafile(host: str | None, key: str = KEY, **more: Any) -> str:
    """Return a datafile of its own revision; None as *host* for no ODP integration."""
    entry = {"key": "odp", "host": host, "publicKey": key}
    content: dict[str, Any] = {
        "version": "4",
        "revision": str(next(_revisions)),
        "projectId": "1",
        "accountId": "1",
        "sdkKey": f"sdk-{next(_revisions)}",
        "groups": [],
        "experiments": [],
        "events": [],
        "audiences": [],
        "attributes": [],
        "featureFlags": [],
        "rollouts": [],
        "integrations": [] if host is None else [entry],
    }
    return json.dumps({**content, **more})


class Shelf:
    """Where the latest datafile lies; `url` is its address."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.url = ""


@contextmanager
def served(text: str) -> Iterator[Shelf]:
    """Serve a datafile that can be exchanged, on a free port."""
    shelf = Shelf(text)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = shelf.text.encode()
            self.send_response(200 if body else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        shelf.url = f"http://127.0.0.1:{server.server_port}/datafile.json"
        try:
            yield shelf
        finally:
            server.shutdown()
            thread.join()
