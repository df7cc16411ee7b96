"""Real PostgreSQL servers on free ports, each with a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from odp_logging._stores.queue.postgresql.schema import build_schema
from odp_logging._stores.queue.postgresql.tables import Tables

from .redis_server import find_free_port
from .waiting import PATIENCE, until

try:
    import psycopg
except ImportError:
    psycopg = None


def _find_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL; Debian has one for each version."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3]),
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


BINARIES = _find_binaries()
MISSING = (
    "PostgreSQL is not installed; on Debian: apt-get install postgresql"
    if BINARIES is None
    else "psycopg is not installed; pip install -e . --group test"
)
IS_INSTALLED = BINARIES is not None and psycopg is not None

if not IS_INSTALLED and os.environ.get("CI") == "true":
    raise RuntimeError(f"{MISSING}; CI tests against it")

needs_postgresql = pytest.mark.skipif(not IS_INSTALLED, reason=MISSING)

SUPERUSER = "postgres"


def _find_owner() -> str | None:
    """Return the user that runs the server; None for the user of this process."""
    if os.geteuid() != 0:
        return None
    try:  # PostgreSQL refuses to run as root
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


class PostgresServer:
    """
    A server with a database ``postgres``, on a port that stays the same.

    Use it in a ``with`` block, or call `remove` at the end.

    Args:
        options: Settings as in postgresql.conf.
        directory: Where its data directory is created; a temporary one if None.
        password: Password of the superuser; nothing asks for one if None.
        certificate: File with the certificate and key for TLS.
    """

    def __init__(
        self,
        options: Mapping[str, object] | None = None,
        *,
        directory: Path | None = None,
        password: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        self._certificate = certificate
        self.port = find_free_port()
        self.password = password
        self.options: dict[str, object] = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **(options or {}),
        }
        self._owner = _find_owner()
        self._home = Path(tempfile.mkdtemp(prefix="odp-pg-", dir=directory))
        self.data = self._home / "data"
        """The data directory."""
        self.log = self._home / "log"
        """The file with the server's messages."""
        self._process: subprocess.Popen[bytes] | None = None
        if self._owner:
            shutil.chown(self._home, self._owner)

    def build_url(
        self, options: str = "", *, user: str = SUPERUSER, database: str = "postgres"
    ) -> str:
        """Return the value of queue_url for this server."""
        where = f"postgresql://{user}@127.0.0.1:{self.port}/{database}"
        return f"{where}?{options}" if options else where

    @property
    def url(self) -> str:
        """The value of queue_url for this server, without options."""
        return self.build_url()

    @property
    def is_down(self) -> bool:
        """Whether it was stopped or killed, or never started."""
        return self._process is None

    @property
    def pid(self) -> int:
        """The id of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as the user of the server."""
        assert BINARIES is not None
        done = subprocess.run(
            [str(BINARIES / program), *arguments],
            cwd=self._home,
            user=self._owner,
            group=None if self._owner is None else pwd.getpwnam(self._owner).pw_gid,
            extra_groups=None if self._owner is None else [],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    def initialize(self) -> None:
        """Create the data directory."""
        arguments = ["-D", str(self.data), "-U", SUPERUSER, "-E", "UTF8", "--no-sync"]
        if self.password is None:
            arguments.append("--auth=trust")
        else:
            secret = self._home / "password"
            secret.write_text(self.password)
            if self._owner:
                shutil.chown(secret, self._owner)
            arguments += ["--auth=scram-sha-256", f"--pwfile={secret}"]
        self.run("initdb", "--locale=C.UTF-8", *arguments)
        if self._certificate is not None:
            for name in ("server.crt", "server.key"):
                copy = self.data / name
                shutil.copy(self._certificate, copy)
                copy.chmod(0o600)
                if self._owner:
                    shutil.chown(copy, self._owner)

    def start(self) -> PostgresServer:
        """Start it with the data of before, and wait until it answers."""
        if not self.data.exists():
            self.initialize()
        # Refused while processes of a killed postmaster still end.
        until(self._start_once, f"the PostgreSQL server in {self._home}")
        return self

    def _start_once(self) -> bool:
        assert BINARIES is not None
        settings = [f"--{name}={value}" for name, value in self.options.items()]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [
                    str(BINARIES / "postgres"),
                    *("-D", str(self.data), "-p", str(self.port), *settings),
                ],
                cwd=self._home,
                user=self._owner,
                group=None if self._owner is None else pwd.getpwnam(self._owner).pw_gid,
                extra_groups=None if self._owner is None else [],
                stdout=log,
                stderr=log,
            )
        until(lambda: self._has_ended() or self.answers(), "the server to answer")
        if not self._has_ended():
            return True
        self._process = None
        text = self.log.read_text()[-2000:]
        if "still in use" in text or "another" in text:
            return False
        raise AssertionError(text)

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def answers(self) -> bool:
        """Whether it accepts connections."""
        try:
            with self.connect():
                return True
        except psycopg.Error:
            return False

    def connect(self, **options: Any) -> Any:
        """Return a connection of psycopg that commits each statement."""
        return psycopg.connect(
            **{
                "host": "127.0.0.1",
                "port": self.port,
                "user": SUPERUSER,
                "dbname": "postgres",
                "password": self.password,
                "connect_timeout": 5,
                "autocommit": True,
                **options,
            }
        )

    def ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        with self.connect() as connection:
            answer = connection.execute(statement, parameters or None)
            return [] if answer.description is None else answer.fetchall()

    def create_tables(self, table: str = "odp_events") -> None:
        """Create the tables of a queue, as ``odp-logging queue apply`` does."""
        self.ask(build_schema(Tables(table)))

    def clear(self) -> None:
        """Delete all tables of queues, and the rights and roles of tests."""
        self.ask(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
            "GRANT USAGE ON SCHEMA public TO PUBLIC"
        )

    def kill(self) -> None:
        """End the postmaster with SIGKILL; its other processes notice and end."""
        process, self._process = self._process, None
        if process is None:
            return
        children = _list_children(process.pid)
        process.kill()
        process.wait(PATIENCE)
        # A session that is idle ends at once, one in a statement after that.
        until(lambda: not any(map(_is_running, children)), "the server's processes")

    def stop(self) -> None:
        """End it without waiting for its clients."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)

    def remove(self) -> None:
        """End it and delete its files."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()


def _list_children(pid: int) -> list[int]:
    """Return the processes that *pid* started, where the system tells."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return (
        [int(child) for child in listed.read_text().split()] if listed.exists() else []
    )


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process has taken the number
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def freeze(*pids: int) -> Iterator[None]:
    """Stop processes in the block, as a machine that does not answer any more."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for all tests of this process that do not end it."""
    with PostgresServer() as running:
        yield running


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresServer:
    """That server, running and with the empty tables of a queue."""
    if postgres_server.is_down:
        postgres_server.start()
    postgres_server.clear()
    postgres_server.create_tables()
    return postgres_server
