"""What an object's own code may do while it is asked for its text."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging import OdpClient, OdpHandler, OdpProcessor
from odp_logging.emulator import Emulator

from ...conftest import KEY
from . import hostile
from .expected import fields

ROOT = Path(__file__).parents[3]
PATIENCE = 20.0


class Stop(BaseException):
    """What ends a task, and is nobody's error."""


@pytest.fixture
def shop(client: OdpClient) -> Iterator[logging.Logger]:
    """A logger of nobody's tree whose records go to the emulator."""
    made = logging.Logger("shop")
    made.addHandler(OdpHandler(client=client))
    yield made


def log(logger: logging.Logger, value: Any) -> None:
    """Log an event with *value* in its data."""
    logger.info("viewed", extra=fields(data={"value": value}))


def arrived(client: OdpClient, emulator: Emulator) -> list[Any]:
    """Return the values that arrived, in their order."""
    assert client.flush(PATIENCE)
    return [each["event"]["data"]["value"] for each in emulator.events()]


def balanced(client: OdpClient) -> bool:
    """Whether every event is accounted for."""
    stats = client.stats
    gone = sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted == stats.delivered + gone + stats.pending


def test_one_that_blocks_holds_up_nobody(shop, client, emulator):
    """While one log call waits for an object's text, those of others are delivered."""
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    stuck = threading.Thread(target=log, args=(shop, hostile.doing(wait, "late")))
    log(shop, "before")
    stuck.start()
    assert inside.wait(PATIENCE)
    log(shop, "meanwhile")

    assert arrived(client, emulator) == ["before", "meanwhile"]
    go_on.set()
    stuck.join(PATIENCE)
    assert arrived(client, emulator) == ["before", "meanwhile", "late"]


def test_one_that_never_answers_does_not_hold_up_the_end(emulator):
    """A process ends in time though one of its threads waits for a text for ever."""
    with Emulator() as odp:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.hostile.corpus.stuck", odp.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        values = [each["event"]["data"]["v"] for each in odp.events()]

    assert (ended.returncode, ended.stderr) == (0, "")
    assert values == ["before", "after"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, Stop])
def test_what_is_no_error_passes(shop, client, emulator, error):
    """What ends a program or a task reaches the log call it stopped, and harms none."""
    log(shop, "before")
    with pytest.raises(error):
        log(shop, hostile.raising("__str__", error=error())())
    with pytest.raises(error):
        made = fields(data={"value": hostile.raising("__str__", error=error())()})
        OdpProcessor(client)(None, "info", {"event": "viewed", **made})
    log(shop, "after")

    assert arrived(client, emulator) == ["before", "after"]
    assert client.stats.accepted == 2


def test_one_that_logs_an_event_sends_both(shop, client, emulator):
    """An object may log an event of its own while it is asked."""
    log(shop, hostile.doing(lambda: log(shop, "inner"), "outer"))

    assert arrived(client, emulator) == ["inner", "outer"]


def test_one_that_logs_itself_ends(shop, client, emulator):
    """An object that logs itself without end ends, and the next events arrive."""

    class Endless:
        def __str__(self) -> str:
            log(shop, self)
            return "endless"

    log(shop, "before")
    log(shop, Endless())
    log(shop, "after")

    values = arrived(client, emulator)
    assert (values[0], values[-1]) == ("before", "after")
    assert set(values[1:-1]) <= {"endless", "<Endless>"}
    assert balanced(client)


def test_one_that_flushes(shop, client, emulator):
    """An object may wait for the delivery of what was logged before it."""
    done = []
    log(shop, "before")
    log(shop, hostile.doing(lambda: done.append(client.flush(PATIENCE)), "flushed"))

    assert arrived(client, emulator) == ["before", "flushed"]
    assert done == [True]


def test_one_that_closes_everything(shop, client, emulator):
    """An object that takes handlers away and closes the client is still sent."""

    def end() -> None:
        for handler in shop.handlers[:]:
            shop.removeHandler(handler)
            handler.close()
        client.close(PATIENCE)

    log(shop, hostile.doing(end, "last"))

    assert arrived(client, emulator) == ["last"]


def test_data_that_another_thread_changes(shop, client, emulator):
    """Data that changes while it is logged is sent as it was at some moment."""
    data: dict[str, Any] = {"value": 0, "more": [{}]}
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            data["more"].append({"n": number})
            data[f"k{number % 50}"] = number
            data["more"][0][f"k{number % 50}"] = [number]
            if number % 40 == 0:
                del data["more"][1:]
                for name in [each for each in data if each[0] == "k"]:
                    data.pop(name)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for number in range(300):
            data["value"] = number
            shop.info("viewed", extra=fields(data=data))
    finally:
        over.set()
        changing.join(PATIENCE)

    assert arrived(client, emulator) == list(range(300))


@pytest.mark.parametrize(
    "make", [hostile.Closed, hostile.nameless, hostile.Pretender, list, lambda: True]
)
def test_a_before_send_that_returns_anything(make, emulator):
    """What before_send returns and is no event rejects its event, and no other."""

    def odd(event: Any) -> Any:
        return make() if event.action == "odd" else event

    with OdpClient(
        KEY, api_host=emulator.url, handle_sigterm=False, before_send=odd
    ) as client:
        for action in ("good", "odd", "better"):
            client.send_odp_event(action, {"id": "u1"})
        assert client.flush(PATIENCE)

        assert client.stats.rejected == {"bad_before_send": 1}
    assert [each["event"]["action"] for each in emulator.events()] == ["good", "better"]
