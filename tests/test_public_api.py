"""What a user may import, what an import costs, what the installation needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import odp_logging


def test_the_public_names_are_pinned():
    """These names, and no others, are kept for years."""
    assert sorted(odp_logging.__all__) == [
        "ConfigurationError",
        "ContextFilter",
        "InvalidEventError",
        "OdpClient",
        "OdpEvent",
        "OdpHandler",
        "OdpLoggingError",
        "OdpProcessor",
        "Stats",
        "__version__",
        "bind_data",
        "bind_identifiers",
        "bound_data",
        "bound_identifiers",
        "clear_data",
        "clear_identifiers",
        "flush",
    ]


@pytest.mark.parametrize("name", odp_logging.__all__)
def test_every_public_name_is_there_and_documented(name):
    """Each public name can be imported, is listed, and says what it is."""
    value = getattr(odp_logging, name)

    assert name in dir(odp_logging)
    assert name == "__version__" or value.__doc__


def test_other_names_are_missing_with_the_usual_error():
    """A misspelt name is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'OdpHandlr'"):
        _ = odp_logging.OdpHandlr


def loaded_after(code: str) -> set[str]:
    """Return the modules loaded by a new interpreter that runs *code*."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(shown.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import odp_logging",
        "from odp_logging import *; OdpHandler('k'); OdpProcessor(api_key='k')",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    """Neither the import nor a configured handler loads requests or structlog."""
    modules = loaded_after(code)

    assert not modules & {"requests", "urllib3", "structlog", "sqlite3", "argparse"}
    assert not any(name.startswith("odp_logging.emulator") for name in modules)


def test_the_version_is_one():
    """The package says the version that is installed."""
    assert odp_logging.__version__ == version("odp-logging")


def test_two_packages_are_needed():
    """The runtime dependencies are requests and structlog, and no others."""
    needed = [line for line in requires("odp-logging") or [] if "extra ==" not in line]

    assert sorted(line.split(">")[0] for line in needed) == ["requests", "structlog"]
