"""asyncio: many tasks at once, and every way its loop ends."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from odp_logging import OdpClient, bind_identifiers, bound_identifiers
from odp_logging.emulator import Emulator

from ..emulated import list_events
from .workers import Program, actions, running

LOOP = """
import asyncio, logging, signal
from odp_logging import OdpHandler
handler = OdpHandler(flush_interval=60)
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(handler)

def log(action):
    logger.info(action, extra={
        "odp_action": action, "odp_identifiers": {"fs_user_id": "user123"}})

async def serve():
    log("began")
    print("ready", flush=True)
    await asyncio.Event().wait()
"""
PLAIN = f"{LOOP}\nasyncio.run(serve())"
HANDLED = f"""{LOOP}
async def main():
    serving = asyncio.ensure_future(serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log("ended")
    finally:
        print("closed", await handler.client.aclose(10), flush=True)

asyncio.run(main())
"""


def test_identifiers_stay_in_their_task(odp: Emulator) -> None:
    """A hundred tasks that take turns, their threads and their own tasks."""
    client = OdpClient("test", api_host=odp.url, handle_sigterm=False)

    async def child(user: str) -> None:
        client.send_odp_event("child", {}, data={"user": user})
        bind_identifiers(fs_user_id=f"child of {user}")
        await asyncio.sleep(0)
        client.send_odp_event("grown", {}, data={"user": f"child of {user}"})

    async def visit(user: str) -> None:
        bind_identifiers(fs_user_id=user)
        children = asyncio.gather(child(user))
        with bound_identifiers(email=f"{user}@example.com"):
            await asyncio.sleep(0)
            client.send_odp_event("viewed", {}, data={"user": user})
        send = client.send_odp_event
        await asyncio.to_thread(send, "thread", {}, data={"user": user})
        await children
        client.send_odp_event("left", {}, data={"user": user})

    async def main() -> bool:
        await asyncio.gather(*(visit(f"user{number}") for number in range(100)))
        client.send_odp_event("nobody", {})
        return await client.aclose(30)

    assert asyncio.run(main())
    assert client.stats.rejected == {"no_identifiers": 1}
    found = Counter(event["action"] for event in list_events(odp))
    assert found == dict.fromkeys(["child", "grown", "viewed", "thread", "left"], 100)
    for event in list_events(odp):
        expected = {"fs_user_id": event["data"]["user"]}
        if event["action"] == "viewed":
            expected["email"] = f"{event['data']['user']}@example.com"
        assert event["identifiers"] == expected


@pytest.mark.slow
def test_a_loop_that_nobody_taught_about_sigterm(tmp_path: Path, odp: Emulator) -> None:
    """It delivers, and dies of the signal."""
    with running(tmp_path, "-c", PLAIN, odp=odp) as program:
        _end(program, -signal.SIGTERM)
    assert actions(odp) == {"began": 1}


@pytest.mark.slow
def test_a_loop_that_ends_itself(tmp_path: Path, odp: Emulator) -> None:
    """Its own signal handler stays; aclose delivers what it logs last."""
    with running(tmp_path, "-c", HANDLED, odp=odp) as program:
        _end(program, 0)
        assert "closed True" in program.text
    assert actions(odp) == {"began": 1, "ended": 1}


@pytest.mark.slow
def test_a_loop_that_is_interrupted(tmp_path: Path, odp: Emulator) -> None:
    """Ctrl-C: asyncio cancels what runs, and the end of the process delivers."""
    with running(tmp_path, "-c", PLAIN, odp=odp) as program:
        program.wait_for("ready")
        assert program.end(signal.SIGINT) != 0
    assert actions(odp) == {"began": 1}


def _end(program: Program, code: int) -> None:
    program.wait_for("ready")
    assert program.end(signal.SIGTERM) == code, program.text
