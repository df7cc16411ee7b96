"""uWSGI: a master that forks its workers in C, past the hooks of the interpreter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..journeys.pythons import install_environment
from .conftest import Serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def uwsgi(request: pytest.FixtureRequest) -> list[str]:
    """The command of Debian's uWSGI, with what the package needs for its Python."""
    found, python = "/usr/bin/uwsgi", "/usr/bin/python3"
    command = [found, "--plugin", "python3"]
    told = ""
    if os.path.exists(found) and find_ensurepip(python):
        told = run([*command, "--python-version"])
    if not told or told.split()[0] != run([python, "-V"]).split()[-1]:
        pytest.skip(
            "needs apt install uwsgi-core uwsgi-plugin-python3 python3-venv, of a"
            " Python that this package supports"
        )
    home = Path(str(request.config.cache.mkdir("journeys-uwsgi")))
    install_environment(python, home)
    return [*command, "-H", str(home / "venv")]


def run(command: list[str]) -> str:
    """Return what *command* prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout


def find_ensurepip(python: str) -> bool:
    """Whether *python* is one that this package supports, and can make a venv."""
    code = "import ensurepip, sys; print(sys.version_info >= (3, 10))"
    return run([python, "-c", code]).strip() == "True"


@pytest.mark.parametrize("lazy", ["", "--lazy-apps"])
def test_an_event_at_import(
    serve: Serve, odp: Emulator, uwsgi: list[str], lazy: str
) -> None:
    """Workers that are forked while the first event is sent answer, and send theirs."""
    server = serve(
        "--http-socket 127.0.0.1:{port} --chdir {folder} --module wsgi_shop:app"
        " --need-app --master -p 2 --enable-threads --die-on-term " + lazy,
        program=uwsgi,
        SHOP_OPENS="1",
        flush_interval=0.1,
    )
    server.buy(*range(1, 21))
    opened = 2 if lazy else 1  # each worker imports the application, or the master

    assert odp.wait_for(20 + opened, timeout=20)
    server.stop()
    events = [each["event"]["data"]["n"] for each in odp.events()]
    assert sorted(events) == [0] * opened + list(range(1, 21))
    assert odp.stats()["duplicates"] == 0
