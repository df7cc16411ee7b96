"""Delivery works the same with gevent and eventlet patches."""

from __future__ import annotations

from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import FOUND, Python, get_numbers, install_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def green(request: pytest.FixtureRequest) -> Python:
    """The newest CPython of this machine, with gevent and eventlet if available."""
    version, path = list(FOUND.items())[-1]
    home = Path(str(request.config.cache.mkdir(f"journeys-{version}-green")))
    wanted = ("--only-binary=:all:", "gevent", "eventlet")
    try:
        return Python(version, install_environment(path, home, *wanted))
    except pytest.fail.Exception as error:
        pytest.skip(f"gevent cannot be installed: {error}")


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("durability", ["", "exit", "crash"])
def test_patched(
    green: Python, odp: Emulator, tmp_path: Path, when: str, durability: str
) -> None:
    """All events are delivered, whether gevent patches before or after the import."""
    settings = {"spool": tmp_path / "spool", "durability": durability}
    ended = green.run(
        "gevent_workers.py", odp.url, when, **settings if durability else {}
    )

    assert (ended.status, ended.err) == (0, "")
    assert get_numbers(odp) == list(range(20))


@pytest.mark.parametrize("when", ["early", "made", "sent", "child"])
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_the_loop_goes_on(
    green: Python, odp: Emulator, library: str, when: str
) -> None:
    """A slow ODP does not block the event loop, whenever the patch was applied."""
    odp.fault(latency=3)
    ended = green.run("event_loop_gaps.py", odp.url, library, when)

    assert ended.status == 0, ended.err
    gap, flushed = ended.out.split()
    assert float(gap) < 1  # 0.1 on an idle machine; a blocked loop waits 3
    assert flushed == "True"
    first = [0] if when in ("sent", "child") else []
    sold = [*range(10, 14), *range(20, 24), *range(30, 34), 40]
    assert get_numbers(odp) == [*first, *sold]
