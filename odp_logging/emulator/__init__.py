"""An emulator of ODP's events API on this machine, independent of the library.

    POST /v3/events
      │
      ▼
    _server     connections and threads
      ▼
    _http       one connection ──►  _requests  strict reading, limits of size
      │                        └─►  _access    hosts, origins, the access token
      ▼
    _routes     paths;  _sse  the live stream;  _page  the page
      ▼
    _api        the response to one request ──►  _validation  requests that ODP refuses
      │                                     ├─►  _faults      faults that tests set
      │                                     └─►  _lint        values that ODP drops
      ▼
    _ledger     counts ──►  _history  known idempotence ids, the latest events and
                                      requests, within limits of memory
      ▲
    _emulator   the object for tests;  _main  the program in the foreground

In a test::

    with Emulator() as odp:
        send_to(odp.url)
        assert odp.wait_for(100)
        assert odp.stats()["duplicates"] == 0

On a terminal: ``python -m odp_logging.emulator``, then open the page's address that it
prints. It has an access token, because other users of the machine can reach the port.

Memory is limited: 512 connections, 64 MiB of bodies that are being read, 64 MiB of
recorded events, 64 MiB of requests, and 1,000,000 known ids. The emulator imports no
other module of the library, because it checks what the library sends.
"""

from __future__ import annotations

from ._emulator import Emulator
from ._main import run

__all__ = ["Emulator", "run"]
