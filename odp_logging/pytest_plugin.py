"""The pytest plugin: fixtures ``odp_events`` and ``odp_emulator``, and a network block.

pytest loads it wherever odp-logging is installed. So it imports only pytest, the
standard library and two small modules. A run that logs no event is not affected.

By default, this process and child processes that inherit its environment send events to
this machine only. Tests marked ``odp_network`` are exempt. If events of a test were
blocked, it gets the warning `OdpNetworkBlocked` and does not fail, because installing a
package must not break tests that passed. With ``odp_strict = true``, or
``filterwarnings = error``, it fails.

Log calls that look like an event and are none are listed at the end. With
``odp_near_misses = error``, their test fails.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest

from ._capture import interception
from ._capture.network_block import NetworkBlock, set_for_children

if TYPE_CHECKING:
    from .testing import EmulatedOdp, Events

_TIMEOUT = 5.0
"""Seconds to wait for deliveries at the end of a test."""

_NETWORK_TEST_TIMEOUT = 2.0
"""The same for a test marked ``odp_network``; events left then are dropped."""

_WORKER_OUTPUT = "odp_logging"
"""Key of a pytest-xdist worker's output that holds its reports for the summary."""


_NEAR_MISSES_OUTPUT = "odp_logging_near_misses"
"""The same for its near misses."""

_NEAR_MISS_MODES = ("show", "error", "ignore")

_CALL_SITES = "odp_logging._capture.call_sites"
"""Looked up and not imported: a run that has no handler needs no such module."""


_PIPELINE = "odp_logging._client.pipeline"
"""Looked up and not imported: no event waits before a client was built."""


class OdpNetworkBlocked(pytest.PytestWarning):
    """Warn that a test logged events for another machine, which were not sent."""


class _Run:
    """The state of one run of pytest. Runs may be nested, as by pytester."""

    def __init__(self) -> None:
        self.block = NetworkBlock()
        self.previous_block = interception.set_block(self.block)
        # A value that is set already stays: 0 lets child processes send.
        self.previous_value = set_for_children("1")
        if self.previous_value:
            set_for_children(self.previous_value)
        self.reports_outside_tests: list[str] = []
        self.near_misses: list[str] = []
        self.near_misses_of_test: list[str] = []
        # Events that wait for a key, by flusher: before this run, and before a test.
        self.waiting_before = _count_without_destination()
        self.waiting_before_test = self.waiting_before
        interception.near_miss_listeners.append(self.add_near_miss)

    def add_near_miss(self, origin: str, message: str) -> None:
        """Record a near miss; from the thread of the log call."""
        self.near_misses_of_test.append(f"{origin}: {message}")

    def pop_near_misses(self) -> list[str]:
        """Return the near misses since the last call, and keep them for the summary."""
        found, self.near_misses_of_test = self.near_misses_of_test, []
        self.near_misses += found
        return found


# Not in config.stash, which pytest 7 added: the plugin is loaded by older versions too,
# where an AttributeError would end every run.
_runs: WeakKeyDictionary[pytest.Config, _Run] = WeakKeyDictionary()


def _get_run(config: pytest.Config) -> _Run:
    if config not in _runs:
        _runs[config] = _Run()
    return _runs[config]


# Hooks.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini values ``odp_strict`` and ``odp_near_misses``."""
    parser.addini(
        "odp_strict",
        "fail tests that leave ODP events undelivered, rejected or blocked",
        type="bool",
        default=False,
    )
    parser.addini(
        "odp_near_misses",
        "log calls that look like an ODP event and are none: show them in the summary,"
        " error to fail their tests, or ignore",
        default="show",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Block the network before the application is imported."""
    _get_run(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks; check the ini values."""
    if config.getini("odp_near_misses") not in _NEAR_MISS_MODES:
        raise pytest.UsageError(
            f"odp_near_misses must be one of {', '.join(_NEAR_MISS_MODES)}"
        )
    for marker in (
        "odp_network: this test may send ODP events to other machines",
        "odp_lossy: this test loses ODP events on purpose; odp_strict and"
        " odp_near_misses do not hold",
    ):
        config.addinivalue_line("markers", marker)
    _get_run(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Restore the state of the outer run after a nested one."""
    run = _runs.get(config)
    if run is None:
        return
    if run.add_near_miss in interception.near_miss_listeners:
        interception.near_miss_listeners.remove(run.add_near_miss)
    # The outermost block stays until the process ends: atexit callbacks must not send
    # events that a test has left in a buffer.
    if run.previous_block is not None:
        interception.set_block(run.previous_block)
    elif _PIPELINE in sys.modules:
        # Of no use after the tests. The line at exit would advise to set a key.
        from .testing.undelivered import drop_without_destination

        drop_without_destination("exit", kept=run.waiting_before)
    set_for_children(run.previous_value)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test marked ``odp_network`` send to any host."""
    run = _get_run(item.config)
    run.pop_near_misses()
    _clear_seen_lines()
    run.waiting_before_test = _count_without_destination()
    _collect_report(run)  # events blocked at import, for example, not by this test
    if item.get_closest_marker("odp_network") is None:
        yield
        return
    from .testing.undelivered import UndeliveredEvents

    block, undelivered = interception.set_block(None), UndeliveredEvents()
    value = set_for_children("0")
    yield
    set_for_children(value)
    undelivered.format_report(_NETWORK_TEST_TIMEOUT)
    interception.set_block(block)
    undelivered.drop("network_blocked", include_known=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Warn about the events of this test that were blocked; fail it if strict."""
    run = _get_run(item.config)
    report = run.block.pop_report()
    near_misses = run.pop_near_misses()
    if near_misses and _fails_on_near_misses(item):
        pytest.fail(
            f"odp_near_misses: {near_misses[0]}{_format_more(near_misses)}",
            pytrace=False,
        )
    if report and _is_strict(item):
        pytest.fail(f"OdpNetworkBlocked: {report}", pytrace=False)
    elif report:
        item.warn(OdpNetworkBlocked(report))
    if _is_strict(item):
        _fail_on_waiting(run)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Collect the remaining reports; a pytest-xdist worker sends them to its node."""
    run = _get_run(session.config)
    _collect_report(run)
    run.reports_outside_tests += run.block.format_deferred()
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER_OUTPUT] = run.reports_outside_tests
        run.pop_near_misses()
        output[_NEAR_MISSES_OUTPUT] = run.near_misses


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add the reports of a pytest-xdist worker."""
    output = getattr(node, "workeroutput", {})
    run = _get_run(node.config)
    run.reports_outside_tests += output.get(_WORKER_OUTPUT, [])
    run.near_misses += output.get(_NEAR_MISSES_OUTPUT, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print which events were blocked outside of tests, and all near misses."""
    run = _get_run(config)
    for report in dict.fromkeys(run.reports_outside_tests):
        terminalreporter.line(f"OdpNetworkBlocked, outside of tests: {report}")
    if config.getini("odp_near_misses") == "ignore":
        return
    run.pop_near_misses()
    for near_miss in dict.fromkeys(run.near_misses):
        terminalreporter.line(f"odp_logging, near miss at {near_miss}")


def _collect_report(run: _Run) -> None:
    report = run.block.pop_report()
    if report:
        run.reports_outside_tests.append(report)


def _count_without_destination() -> MutableMapping[Any, int]:
    if _PIPELINE not in sys.modules:
        return {}
    from .testing.undelivered import count_without_destination

    return count_without_destination()


def _fail_on_waiting(run: _Run) -> None:
    """Fail if events of this test wait because no key is known."""
    before = run.waiting_before_test
    waiting = sum(
        max(0, count - before.get(flusher, 0))
        for flusher, count in _count_without_destination().items()
    )
    if waiting:
        events = "1 event was" if waiting == 1 else f"{waiting} events were"
        pytest.fail(
            f"odp_strict: {events} not sent: no key is set; look at events with the"
            " fixture odp_events, have them sent with odp_emulator, set ODP_API_KEY, or"
            " mark the test @pytest.mark.odp_lossy",
            pytrace=False,
        )


def _clear_seen_lines() -> None:
    """Let each test be told of each line, though the process inspects it once."""
    call_sites = sys.modules.get(_CALL_SITES)
    if call_sites is not None:
        call_sites.SEEN_LINES.clear()


def _fails_on_near_misses(item: pytest.Item) -> bool:
    is_lossy = item.get_closest_marker("odp_lossy") is not None
    return item.config.getini("odp_near_misses") == "error" and not is_lossy


def _format_more(near_misses: list[str]) -> str:
    more = len(near_misses) - 1
    return f" ({more} more)" if more else ""


def _is_strict(item: pytest.Item) -> bool:
    is_lossy = item.get_closest_marker("odp_lossy") is not None
    return bool(item.config.getini("odp_strict")) and not is_lossy


# Fixtures.


@pytest.fixture
def odp_events(request: pytest.FixtureRequest) -> Iterator[Events]:
    """Capture the events that the test logs, as a list; nothing is sent."""
    from .testing import capture

    with capture() as events:
        yield events
    if events.rejected and _is_strict(request.node):
        reasons = [
            f"{event.origin} {event.reason}".strip() for event in events.rejected
        ]
        pytest.fail(
            f"odp_strict: {len(reasons)} rejected, the first {reasons[0]}; fix the log"
            " call, or mark the test @pytest.mark.odp_lossy",
            pytrace=False,
        )


@pytest.fixture
def odp_emulator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedOdp]:
    """Run an emulator of ODP; ODP_API_KEY and ODP_API_HOST point to it."""
    from ._config.load import load
    from .testing import emulated

    with emulated() as odp, pytest.MonkeyPatch.context() as patch:
        for name, value in odp.environment.items():
            patch.setenv(name, value)
        if load({}, warn=lambda kind, message: None).spool is not None:
            patch.setenv("ODP_SPOOL", str(tmp_path_factory.mktemp("odp-spool")))
        yield odp
        odp.emulator.clear_faults()
        losses = odp.undelivered(_TIMEOUT)
        if losses and _is_strict(request.node):
            pytest.fail(
                f"odp_strict: events were not delivered: {losses}; fix that, or mark"
                " the test @pytest.mark.odp_lossy",
                pytrace=False,
            )
