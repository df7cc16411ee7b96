"""A stand-in for ODP's events API on this machine: a program of its own.

    POST /v3/events
      │
      ▼
    _server     HTTP on loopback: hosts, origins, sizes, the live stream, the page
      ▼
    _odp        what becomes of one request ──►  _checks   what ODP would refuse
      │                                     ├─►  _faults   what was asked to go wrong
      │                                     └─►  _swallowed  what ODP would not say
      ▼
    _ledger     what was accepted, by idempotence id, and the latest of it
      ▲
    _emulator   the object that tests hold;  _program  the same in the foreground

In a test::

    with Emulator() as odp:
        send_to(odp.url)
        assert odp.wait_for(100)
        assert odp.stats()["duplicates"] == 0

On a terminal: ``python -m odp_logging.emulator``, then open the address it prints.
It imports nothing else of the library, because it checks what the library sends.
"""

from __future__ import annotations

from ._emulator import Emulator
from ._program import run

__all__ = ["Emulator", "run"]
