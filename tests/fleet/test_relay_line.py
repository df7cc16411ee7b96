"""The relay and its status in a terminal: the line that shows the rate, the table."""

from __future__ import annotations

import re
import sys

from odp_logging.emulator import Emulator

from ..cli.conftest import COMMAND
from ..cli.terminals import open_terminal
from ..conftest import KEY
from ..redis_server import RedisServer, needs_redis
from ..stores.queue.redis_stores import build_store
from .test_commands import build_events

pytestmark = needs_redis


def test_a_terminal_shows_the_rate(redis: RedisServer, emulator: Emulator) -> None:
    """The last line counts what is delivered, and Ctrl-C ends with status 0."""
    stream = build_store(redis, "", batch_size=100)
    stream.hand_over(build_events(50))
    variables = {"ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    command = [*COMMAND, "relay", "--from", redis.url]
    with open_terminal(command, variables) as terminal:
        terminal.read_until("50 events delivered, ")
        terminal.press(b"\x03")
        assert terminal.read_to_end() == 0

    assert re.search(r"50 events delivered, [\d,]+/s, 0 dead letters; ", terminal.text)
    assert "odp-logging: 50 events delivered\n" in terminal.text


def test_a_terminal_without_rich_shows_no_rate(
    redis: RedisServer, emulator: Emulator
) -> None:
    """The relay prints its lines, and delivers."""
    build_store(redis, "", batch_size=100).hand_over(build_events(50))
    program = (
        "import sys; sys.modules['rich'] = None;"
        "from odp_logging._cli.main import main;"
        f"sys.exit(main(['relay', '--from', {redis.url!r}]))"
    )
    variables = {"ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    with open_terminal([sys.executable, "-c", program], variables) as terminal:
        assert emulator.wait_for(50)
        terminal.press(b"\x03")
        assert terminal.read_to_end() == 0

    assert "/s, " not in terminal.text


def test_status_is_a_table(redis: RedisServer) -> None:
    """Each worker has a row with its leased events; the last line has the sums."""
    stream = build_store(redis, "", batch_size=3)
    stream.hand_over(build_events(5))
    stream.take()
    command = [*COMMAND, "relay", "status", "--from", redis.url]
    with open_terminal(command, columns=120) as terminal:
        assert terminal.read_to_end() == 0
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal.text)
    lines = text.splitlines()

    assert lines[0].split() == ["worker", "state", "leased", "last", "request"]
    assert lines[1].split()[1:3] == ["working", "3"]
    assert "2 events ready, 3 leased" in lines[2]
