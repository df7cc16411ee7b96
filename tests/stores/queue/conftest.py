"""A Redis and a PostgreSQL server for tests, empty at the start of each test."""

from __future__ import annotations

from ...postgresql import postgres as postgres
from ...postgresql import postgres_server as postgres_server
from ...redis_server import empty_server as empty_server
from ...redis_server import server as server
