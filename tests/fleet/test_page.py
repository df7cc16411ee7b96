"""What the page of the fleet says: commands, options and rights, with real servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging import OdpClient
from odp_logging._cli.main import main
from odp_logging._stores.queue.postgresql import Engine as PostgresEngine
from odp_logging._stores.queue.postgresql.schema import build_grants
from odp_logging._stores.queue.postgresql.tables import Tables
from odp_logging._stores.queue.redis import Engine as RedisEngine
from odp_logging._stores.queue.url_options import COMMON_OPTIONS

from ..postgresql import PostgresServer, needs_postgresql
from ..waiting import until
from .processes import RelayProcess
from .queues import Queue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "fleet" / "README.md").read_text(encoding="utf-8")


def find_blocks(language: str) -> list[str]:
    """Return the blocks in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


FOR_REDIS, FOR_POSTGRESQL, FOR_BOTH = find_blocks("console")
(GRANTS,) = find_blocks("sql")


def test_the_page_is_short():
    """One page, of at most 150 lines."""
    assert len(PAGE.splitlines()) <= 150


@pytest.mark.parametrize(
    ("block", "extra"), [(FOR_REDIS, "redis"), (FOR_POSTGRESQL, "postgres")]
)
def test_the_page_installs_what_the_extra_has(block, extra):
    """So that a queue works without the extra's name."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (words,) = re.findall("^pip install '(.*)'$", block, re.MULTILINE)

    assert f'\n{extra} = ["{words}"]\n' in project


def test_the_table_of_options_is_complete():
    """Each option of each kind of queue, with its default."""
    cells = [
        [cell.strip() for cell in line.split("|")[1:4]]
        for line in PAGE.splitlines()
        if re.match(r"\| `.*\| (both|Redis|PostgreSQL) \|", line)
    ]
    shown = {
        (name, queue): default.strip("`").replace(",", "")
        for names, queue, default in cells
        for name in re.findall("`(.*?)`", names)
    }
    known = {
        (name, queue): str(option.default) or "as libpq"
        for queue, options in (
            ("both", COMMON_OPTIONS),
            ("Redis", RedisEngine.url_options),
            ("PostgreSQL", PostgresEngine.url_options),
        )
        for name, option in options.items()
    }

    assert shown == known


@needs_postgresql
def test_the_commands_for_postgresql_create_a_queue(postgres, monkeypatch, capsys):
    """They print the SQL and the rights of the page, and create the tables."""
    postgres.clear()
    lines = [line for line in FOR_POSTGRESQL.splitlines() if "odp-logging" in line]
    printed = []
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "odp-logging"
        words = [re.sub("^postgresql://.*", postgres.url, word) for word in words]
        assert main(words[1:]) == 0
        printed.append(capsys.readouterr().out)

    assert len(lines) == 3
    assert printed[0].startswith("CREATE TABLE")
    assert _normalize(printed[1]) == _normalize(GRANTS)
    assert "the tables are created" in printed[2]
    monkeypatch.setenv("ODP_QUEUE_URL", postgres.url)
    assert main(["relay", "status"]) == 0


def _normalize(statements: str) -> str:
    return " ".join(statements.replace('"', "").split())


@pytest.mark.slow
def test_the_commands_for_both_deliver_and_show_dead_letters(
    queue: Queue, emulator, monkeypatch, capsys
):
    """A relay as on the page, and each command after it."""
    relay_line, *others = FOR_BOTH.splitlines()
    words = shlex.split(relay_line)
    assert words[:3] == ["ODP_API_KEY=...", "odp-logging", "relay"]
    options = ["0" if word == "9108" else word for word in words[3:]]
    queue.fill(5)
    emulator.fault(match='"n":2}', count=1, status=400)
    with RelayProcess(queue.url, emulator, *options) as relay:
        until(queue.is_empty, "the acknowledgements")
        assert relay.end() == 0, relay.text
    monkeypatch.setenv("ODP_QUEUE_URL", queue.url)
    (letter,) = queue.list_dead_letters()
    for line in others:
        words = shlex.split(line.replace("ID", letter.id), comments=True)
        assert words[0] == "odp-logging"
        assert main(words[1:]) == 0, line
        assert capsys.readouterr().out

    assert len(others) == 4
    assert queue.read_depth().ready == 1


@pytest.fixture
def roles(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server with two roles that have the rights of the page."""
    postgres.ask("DROP ROLE IF EXISTS shop; DROP ROLE IF EXISTS relay")
    postgres.ask(f"CREATE ROLE shop LOGIN; CREATE ROLE relay LOGIN; {GRANTS}")
    yield postgres
    postgres.ask("DROP OWNED BY shop, relay; DROP ROLE shop, relay")


@needs_postgresql
@pytest.mark.slow
def test_the_rights_for_postgresql_are_enough(roles, emulator, caplog, capsys):
    """An application hands over; a relay delivers, pauses and buries; commands work."""
    relay_url = roles.build_url(user="relay")
    emulator.fault(status=429, count=1, retry_after=1)
    emulator.fault(match='"u2"', count=1, status=400)
    with (
        OdpClient(queue_url=roles.build_url(user="shop")) as client,
        RelayProcess(relay_url, emulator, "--workers", "2", "--lease", "2") as relay,
    ):
        for number in range(20):
            client.send_odp_event("sold", {"fs_user_id": f"u{number}"})
        assert client.flush(20)
        assert emulator.wait_for(unique=19, timeout=30), relay.text
        assert main(["relay", "status", "--from", relay_url]) == 0
        for words in (["list"], ["retry", "--all"]):
            assert main(["dead", *words, "--from", relay_url]) == 0
        assert emulator.wait_for(unique=20, timeout=30), relay.text
        assert relay.end() == 0, relay.text

    assert "permit" not in caplog.text + relay.text
    assert roles.ask("SELECT count(*) FROM odp_events") == [(0,)]


@needs_postgresql
def test_the_rights_for_postgresql_are_those_of_the_command():
    """Neither has one more than the other."""
    grants = build_grants(Tables(), producer="shop", relay="relay")

    assert _normalize(GRANTS) == _normalize(grants)
