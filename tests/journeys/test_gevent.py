"""Under gevent's patches everything is as without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import FOUND, Python, installed, numbers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def green(request: pytest.FixtureRequest) -> Python:
    """The newest CPython of this machine, with gevent, if that can be installed."""
    version, path = list(FOUND.items())[-1]
    home = Path(str(request.config.cache.mkdir(f"journeys-{version}-gevent")))
    try:
        return Python(version, installed(path, home, "--only-binary=:all:", "gevent"))
    except pytest.fail.Exception as error:
        pytest.skip(f"gevent cannot be installed: {error}")


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("durability", ["", "exit", "crash"])
def test_patched(
    green: Python, odp: Emulator, tmp_path: Path, when: str, durability: str
) -> None:
    """Whether gevent patched before our import or after it, all is delivered."""
    settings = {"spool": tmp_path / "spool", "durability": durability}
    ended = green.run("green.py", odp.url, when, **settings if durability else {})

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == list(range(20))
