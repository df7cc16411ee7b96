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
def test_patched(green: Python, odp: Emulator, when: str) -> None:
    """Whether gevent patched before our import or after it, all is delivered."""
    ended = green.run("green.py", odp.url, when)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == list(range(20))
