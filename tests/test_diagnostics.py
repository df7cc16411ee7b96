"""What the library says of itself: to whom, and how often."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from odp_logging import OdpHandler
from odp_logging._diagnostics import LOGGER, Diagnostics, say


@contextmanager
def alone(*handlers: logging.Handler) -> Iterator[None]:
    """Have only *handlers* on the root logger, without those of pytest."""
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], handlers
    try:
        yield
    finally:
        root.handlers[:] = before


def test_one_line_a_kind_a_minute(caplog):
    """A second line of a kind within a minute is counted, and told with the next."""
    now = [0.0]
    diagnostics = Diagnostics(clock=lambda: now[0])
    for second in range(0, 130, 10):
        now[0] = float(second)
        diagnostics.warn("kind", "it happened")
    diagnostics.warn("other", "something else")

    assert [each.getMessage() for each in caplog.records] == [
        "it happened",
        "it happened (5 more of this kind since the last line)",
        "it happened (5 more of this kind since the last line)",
        "something else",
    ]


def test_threads_count_together(caplog):
    """Whatever threads and signal handlers say at once: one line, and each is counted.

    With a counter that is read, raised and written back, up to a half was missing.
    """
    now = [0.0]
    diagnostics = Diagnostics(clock=lambda: now[0])
    begin = threading.Barrier(8)

    def warn() -> None:
        begin.wait(10)
        for _ in range(500):
            diagnostics.warn("kind", "it happened")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(4):
            threads = [threading.Thread(target=warn) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            now[0] += 61
    finally:
        sys.setswitchinterval(before)
    diagnostics.warn("kind", "it happened")

    lines = [each.getMessage() for each in caplog.records]
    assert len(lines) == 5
    # Which line tells of one that comes as a minute begins, is open.
    told = [int(more) for line in lines for more in re.findall(r"\((\d+) more", line)]
    assert sum(told) + len(lines) == 4 * 4000 + 1


def test_a_line_within_a_line_is_counted(caplog):
    """A signal handler that warns while its thread counts a line waits for nothing."""
    now = [0.0]
    diagnostics = Diagnostics(clock=lambda: now[0])
    with diagnostics._lock.section():
        diagnostics.warn("kind", "it happened")
    diagnostics.warn("kind", "it happened")

    assert [each.getMessage() for each in caplog.records] == [
        "it happened (1 more of this kind since the last line)"
    ]


def test_a_configured_application_gets_a_record(caplog, capsys):
    """Where logging shows text, the line is a record of the logger odp_logging."""
    say("a line")

    assert caplog.records[0].name == "odp_logging"
    assert capsys.readouterr().err == ""


def test_a_program_without_logging_reads_it_on_stderr(capsys):
    """Where nothing would show it, the line goes to stderr."""
    with alone():
        say("a line")

    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_a_program_that_logs_only_to_odp_reads_it_on_stderr(capsys):
    """A root logger whose only handler is ours shows nothing: stderr does."""
    with alone(OdpHandler(enabled=False)):
        say("a line")

    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_a_logger_disabled_by_dict_config_is_still_heard(capsys, monkeypatch):
    """dictConfig's disable_existing_loggers does not silence losses."""
    monkeypatch.setattr(LOGGER, "disabled", True)
    say("a line")

    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_a_level_set_on_purpose_silences_it(capsys):
    """Whoever raises the level of the logger does not want to hear of it."""
    LOGGER.setLevel(logging.CRITICAL)
    try:
        with alone():
            say("a line")
    finally:
        LOGGER.setLevel(logging.NOTSET)

    assert capsys.readouterr().err == ""


def test_a_broken_handler_does_no_harm(monkeypatch):
    """A handler that raises does not reach whoever wanted to say something."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError

    broken = Broken()
    LOGGER.addHandler(broken)
    try:
        Diagnostics().warn("kind", "a line")
    finally:
        LOGGER.removeHandler(broken)


def test_at_the_end_only_the_main_thread_is_heard(caplog) -> None:
    """A line of another thread could be cut off, and Python would abort."""
    diagnostics = Diagnostics()
    diagnostics.hush(time.monotonic() + 1)
    thread = threading.Thread(target=diagnostics.warn, args=("theirs", "theirs"))
    thread.start()
    thread.join()
    diagnostics.warn("ours", "ours")

    assert [each.getMessage() for each in caplog.records] == ["ours"]


def test_a_fork_waits_for_the_line_that_another_thread_writes() -> None:
    """Else the child inherits the lock of stderr's buffer, and hangs at its end."""
    writing, going_on = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            writing.set()
            going_on.wait(10)

    handler = Slow()
    LOGGER.addHandler(handler)
    try:
        diagnostics = Diagnostics()
        thread = threading.Thread(target=diagnostics.warn, args=("kind", "message"))
        thread.start()
        assert writing.wait(10)
        start = time.monotonic()
        diagnostics.before_fork(start + 0.1)  # for so long, and not for ever
        assert time.monotonic() - start >= 0.1
        going_on.set()
        thread.join()
        diagnostics.before_fork(time.monotonic() + 10)
        diagnostics.after_fork_in_parent()
    finally:
        LOGGER.removeHandler(handler)


def test_a_line_waits_for_the_fork_of_another_thread(caplog) -> None:
    """A line that was begun beside a fork would be half written in the child."""
    diagnostics = Diagnostics()
    told: list[int] = []
    diagnostics.before_fork(time.monotonic() + 10)
    thread = threading.Thread(target=diagnostics.warn, args=("kind", "it happened"))
    thread.start()
    thread.join(0.3)
    told.append(len(caplog.records))
    diagnostics.after_fork_in_parent()
    thread.join(10)
    told.append(len(caplog.records))

    assert told == [0, 1]
