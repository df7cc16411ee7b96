"""For pytest: the fixtures ``odp_events`` and ``odp_emulator``, and no sends elsewhere.

It is loaded for everybody who has odp-logging installed, so it imports nothing but
what is there anyway, and a run that logs no event never notices it. What it does
unasked: no event leaves this machine, but for tests marked ``odp_network``. A test
whose events were stopped gets a warning, `OdpNetworkBlocked`, and does not fail: the
harm is prevented, and tests that were green must not turn red because a package was
installed. With ``odp_strict = true``, or ``filterwarnings = error``, it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest

from . import _tap
from ._wall import NetworkWall

if TYPE_CHECKING:
    from ._catalogue import Catalogue
    from .testing import EmulatedOdp, Events

_TIMEOUT = 5.0
"""Seconds that the end of a test waits for events to be delivered."""

_MARKED_TIMEOUT = 2.0
"""The same for a test marked ``odp_network``; what is left then is dropped."""

_OUTPUT = "odp_logging"


class OdpNetworkBlocked(pytest.PytestWarning):
    """A test logged events for another machine; they were not sent."""


class _Run:
    """What is known of one run of pytest; there may be one within another."""

    def __init__(self) -> None:
        self.wall = NetworkWall()
        self.outer = _tap.set_wall(self.wall)
        self.catalogue: Catalogue | None = None
        self.outside: list[str] = []

    def told(self) -> dict[str, Any]:
        """Return what a worker of pytest-xdist tells the process that prints."""
        catalogue = None if self.catalogue is None else self.catalogue.plain()
        return {"outside": self.outside, "catalogue": catalogue}

    def merge(self, told: dict[str, Any]) -> None:
        """Add what a worker told."""
        self.outside += told["outside"]
        if self.catalogue is not None and told["catalogue"] is not None:
            self.catalogue.merge(told["catalogue"])


# Not in config.stash, which came with pytest 7: who has an older one never asked for
# this plugin, and could run no test at all.
_runs: WeakKeyDictionary[pytest.Config, _Run] = WeakKeyDictionary()


def _run_of(config: pytest.Config) -> _Run:
    if config not in _runs:
        _runs[config] = _Run()
    return _runs[config]


# What pytest calls.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--odp-report`` and the ini value ``odp_strict``."""
    parser.getgroup("odp-logging", "ODP events").addoption(
        "--odp-report",
        action="store_true",
        help="show which ODP events the tests saw: types, actions, fields, counts",
    )
    parser.addini(
        "odp_strict",
        "fail tests that leave ODP events undelivered, rejected or blocked",
        type="bool",
        default=False,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Stop sends before anything of the application is imported."""
    _run_of(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks, and begin the report if it is wanted."""
    for line in (
        "odp_network: this test may send ODP events to other machines",
        "odp_lossy: this test loses ODP events on purpose; odp_strict does not hold",
    ):
        config.addinivalue_line("markers", line)
    run = _run_of(config)
    if config.getoption("odp_report"):
        from ._catalogue import Catalogue

        run.catalogue = Catalogue()
        _tap.observe(run.catalogue)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave things as they were before a run within a run."""
    run = _runs.get(config)
    if run is None:
        return
    if run.catalogue is not None:
        _tap.overlook(run.catalogue)
    # The outermost wall stands to the end of the process: what a test has left in a
    # buffer must not be sent when atexit callbacks drain it.
    if run.outer is not None:
        _tap.set_wall(run.outer)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test marked ``odp_network`` send where it likes."""
    run = _run_of(item.config)
    _set_aside(run)  # logged at import, say: not by this test
    if item.get_closest_marker("odp_network") is None:
        yield
        return
    from ._undelivered import Undelivered

    wall, undelivered = _tap.set_wall(None), Undelivered()
    yield
    undelivered.told(_MARKED_TIMEOUT)
    _tap.set_wall(wall)
    undelivered.give_up("network_blocked", known=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Tell a test that its events were stopped."""
    line = _run_of(item.config).wall.told()
    if line and _is_strict(item):
        pytest.fail(f"OdpNetworkBlocked: {line}", pytrace=False)
    elif line:
        item.warn(OdpNetworkBlocked(line))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, hand over what there is to print."""
    run = _run_of(session.config)
    _set_aside(run)
    run.outside += run.wall.waited()
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = run.told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of pytest-xdist handed over."""
    told = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if told is not None:
        _run_of(node.config).merge(told)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the report, and what was stopped outside of any test."""
    run = _run_of(config)
    if run.catalogue is not None:
        terminalreporter.section("ODP events")
        for line in run.catalogue.lines():
            terminalreporter.line(line)
    for line in dict.fromkeys(run.outside):
        terminalreporter.line(f"OdpNetworkBlocked, outside of tests: {line}")


def _set_aside(run: _Run) -> None:
    line = run.wall.told()
    if line:
        run.outside.append(line)


def _is_strict(item: pytest.Item) -> bool:
    lossy = item.get_closest_marker("odp_lossy") is not None
    return bool(item.config.getini("odp_strict")) and not lossy


# What tests ask for.


@pytest.fixture
def odp_events(request: pytest.FixtureRequest) -> Iterator[Events]:
    """What the test logs, as a list of ODP events; nothing is sent."""
    from .testing import capture

    with capture() as events:
        yield events
    if events.rejected and _is_strict(request.node):
        reasons = [f"{each.origin} {each.reason}".strip() for each in events.rejected]
        pytest.fail(
            f"odp_strict: {len(reasons)} rejected, the first {reasons[0]}; mend the log"
            " call, or mark the test @pytest.mark.odp_lossy",
            pytrace=False,
        )


@pytest.fixture
def odp_emulator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedOdp]:
    """A stand-in for ODP on a free port; ODP_API_KEY and ODP_API_HOST point to it."""
    from ._config import load
    from .testing import emulated

    with emulated() as odp, pytest.MonkeyPatch.context() as patch:
        for name, value in odp.environment.items():
            patch.setenv(name, value)
        if load({}, warn=lambda kind, message: None).spool is not None:
            patch.setenv("ODP_SPOOL", str(tmp_path_factory.mktemp("odp-spool")))
        yield odp
        odp.emulator.clear_faults()
        losses = odp.undelivered(_TIMEOUT)
        run = _run_of(request.config)
        if run.catalogue is not None:
            for event in odp.events:
                run.catalogue.add(event)
        if losses and _is_strict(request.node):
            pytest.fail(
                f"odp_strict: events were not delivered: {losses}; mend that, or mark"
                " the test @pytest.mark.odp_lossy",
                pytrace=False,
            )
