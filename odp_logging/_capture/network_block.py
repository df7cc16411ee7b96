"""
Blocks events that a test run would send to another machine.

The pytest plugin sets a `NetworkBlock`. Runs of unittest and Django's ``manage.py
test`` are recognized by how the process was started, child processes by the environment
variable ``ODP_BLOCK_NETWORK``.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING

from . import interception

if TYPE_CHECKING:
    from .._events.batch import Invalid
    from .._events.event import OdpEvent

VARIABLE = "ODP_BLOCK_NETWORK"
"""Whether this process sends events to this machine only: 1 or 0."""

_DISABLED = ("0", "false", "no", "off")

_PYTEST_HINT = (
    "tests send to this machine only; look at events with the fixture odp_events, have"
    " them sent with odp_emulator, or mark the test @pytest.mark.odp_network"
)
_HINT = (
    "tests send to this machine only; look at events with odp_logging.testing.capture,"
    f" have them sent with odp_logging.testing.emulated, or set {VARIABLE}=0"
)
_MAX_NOTES = 1000
_MAX_KIND_CHARACTERS = 60


class NetworkBlock:
    """
    An interceptor of events for every host but this machine.

    A blocked event is rejected in its log call, so it does not wait in a buffer or a
    spool until the tests are over. Events that waited there before are kept.

    Args:
        is_read: Whether this process calls `pop_report`. Otherwise the first blocked
            event is reported on stderr.
    """

    def __init__(self, *, is_read: bool = True) -> None:
        self._pid = os.getpid() if is_read else 0
        self._hint = _PYTEST_HINT if is_read else _HINT
        self._is_blocked: dict[str, bool] = {}
        self._notes: deque[str] = deque(maxlen=_MAX_NOTES)
        self._deferred: dict[str, None] = {}

    def blocks(self, host: str | None) -> bool:
        """Return whether *host* is another machine; False while it is not known."""
        if host is None:
            return False
        if host not in self._is_blocked:
            self._is_blocked[host] = not _is_local(host)
        return self._is_blocked[host]

    def intercept(self, captured: OdpEvent | Invalid, origin: str) -> bool:
        """Record a blocked event; its client counts it as rejected."""
        if not isinstance(captured, tuple):  # an Invalid is never sent
            kind = f"{captured.type}/{captured.action}"[:_MAX_KIND_CHARACTERS]
            location = f", logged at {origin}" if origin else ""
            self._record(f"{kind}{location}")
        return False

    def defer(self, host: str) -> str:
        """Record that events for *host* stay in their buffer or spool."""
        # Not a note of the current test: a flusher calls this at any time, and events
        # found in a spool were logged before the tests began.
        if os.getpid() == self._pid:
            self._deferred[host] = None
        else:
            self._record(f"some waited for {host}")
        return f"OdpNetworkBlocked: nothing is sent to {host}; {self._hint}"

    def pop_report(self) -> str:
        """Return one line on events blocked since the last call; "" if none were."""
        first, count = "", 0
        while self._notes:
            note = self._notes.popleft()
            first, count = first or note, count + 1
        return self._format_report(count, first) if count else ""

    def format_deferred(self) -> list[str]:
        """Return one line for each host for which events were kept."""
        return [
            self._format_report(1, f"some waited for {host}")
            for host in list(self._deferred)
        ]

    def _record(self, note: str) -> None:
        from .._runtime.diagnostics import make_printable, print_line

        note = make_printable(note)
        if os.getpid() == self._pid:
            self._notes.append(note)
        elif not self._notes or self._notes[-1] is not _REPORTED:
            # A child process: the test runner cannot read its notes. It prints once.
            self._notes.append(_REPORTED)
            if sys.stderr is not None:
                report = self._format_report(1, note)
                print_line(f"odp_logging: {report}", sys.stderr)

    def _format_report(self, count: int, first: str) -> str:
        events = "an ODP event was" if count == 1 else f"{count} ODP events were"
        example = first if count == 1 else f"the first {first}"
        return f"{events} not sent ({example}): {self._hint}"


def block_if_testing() -> None:
    """
    Block the network if the environment says so, or if this process runs tests.

    Call it before a client or a transport is created. The pytest plugin has set its own
    block by then.
    """
    if interception.current.block is not None:
        return
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value not in _DISABLED if value else _is_test_run():
        start_blocking()


def start_blocking() -> None:
    """Let this process and its later children send events to this machine only."""
    set_for_children("1")
    if interception.current.block is None:
        interception.set_block(NetworkBlock(is_read=False))


def set_for_children(value: str | None) -> str | None:
    """Set ``ODP_BLOCK_NETWORK`` for later child processes; return the old value."""
    before = os.environ.get(VARIABLE)
    if value is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = value
    return before


def _is_test_run() -> bool:
    """Return whether ``python -m unittest`` or ``manage.py test`` runs here."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name == "unittest.__main__":
        return True
    script, command = [*sys.argv, "", ""][:2]
    is_django = os.path.basename(script) in ("manage.py", "django-admin") or (
        spec is not None and spec.name == "django.__main__"
    )
    return command == "test" and is_django


def _is_local(host: str) -> bool:
    from urllib.parse import urlsplit

    from .._runtime.hosts import is_loopback

    try:
        return is_loopback(urlsplit(host).hostname or "")
    except ValueError:  # not a URL
        return False


_REPORTED = "this process has printed its report"
