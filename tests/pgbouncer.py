"""PgBouncer in front of a PostgreSQL server, with one connection per transaction."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

try:
    import psycopg
except ImportError:
    psycopg = None
import pytest

from .postgresql import PostgresServer
from .redis_server import find_free_port
from .waiting import PATIENCE, until

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "pgbouncer is not installed; on Debian: apt-get install pgbouncer"

if BINARY is None and os.environ.get("CI") == "true":
    raise RuntimeError(f"{MISSING}; CI tests against it")

needs_pgbouncer = pytest.mark.skipif(BINARY is None, reason=MISSING)

_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
server_login_retry = 0.2
"""


class PgBouncer:
    """
    A pooler for the databases of *server*, which runs from `start` to `end`.

    Args:
        connections: How many connections to *server* all clients share.
    """

    def __init__(self, server: PostgresServer, *, connections: int = 3) -> None:
        self._server = server
        self._connections = connections
        self.port = find_free_port()
        self._home = Path(tempfile.mkdtemp(prefix="odp-pgb-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value of queue_url for this pooler."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> PgBouncer:
        """Start it, and wait until it passes a statement on."""
        assert BINARY is not None
        users, settings = self._home / "users", self._home / "settings"
        users.write_text('"postgres" ""\n')
        settings.write_text(
            _SETTINGS.format(
                server=self._server.port,
                port=self.port,
                users=users,
                connections=self._connections,
            )
        )
        owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if owner:
            for path in (self._home, users, settings):
                shutil.chown(path, owner)
        with open(self._home / "log", "wb") as log:
            self._process = subprocess.Popen(
                [BINARY, str(settings)],
                user=owner,
                group=None if owner is None else pwd.getpwnam(owner).pw_gid,
                extra_groups=None if owner is None else [],
                stdout=log,
                stderr=log,
            )
        until(self._answers, "the pooler to answer")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self._home / "log").read_text()[-2000:])
        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="postgres", dbname="postgres"
            ) as connection:
                connection.execute("SELECT 1")
            return True
        except psycopg.Error:
            return False

    def end(self) -> None:
        """End it and delete its files."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE)
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> PgBouncer:
        try:
            return self.start()
        except BaseException:
            self.end()
            raise

    def __exit__(self, *_: object) -> None:
        self.end()
