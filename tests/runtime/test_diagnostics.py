"""The library's own log lines: where they go, and how often they are written."""

from __future__ import annotations

import logging
import pickle
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from odp_logging import OdpHandler
from odp_logging._runtime.diagnostics import LOGGER, Diagnostics, report

from ..waiting import held


@contextmanager
def only_handlers(*handlers: logging.Handler) -> Iterator[None]:
    """Put only *handlers* on the root logger, without those of pytest."""
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], handlers
    try:
        yield
    finally:
        root.handlers[:] = before


def test_a_kind_is_written_once_a_minute(caplog):
    """More lines of a kind within a minute are counted in the next line."""
    now = [0.0]
    diagnostics = Diagnostics(clock=lambda: now[0])
    for second in range(0, 130, 10):
        now[0] = float(second)
        diagnostics.warn("kind", "it happened")
    diagnostics.warn("other", "something else")

    assert [record.getMessage() for record in caplog.records] == [
        "it happened",
        "it happened (5 more of this kind since the last line)",
        "it happened (5 more of this kind since the last line)",
        "something else",
    ]


def test_each_place_is_written_once_a_minute(caplog):
    """Places of one kind have rate limits of their own; beyond 100 they share one."""
    now = [0.0]
    diagnostics = Diagnostics(clock=lambda: now[0])
    written = [
        diagnostics.warn("kind", "it happened", location=f"shop.py:{line}")
        for _ in range(2)
        for line in range(103)
    ]

    assert written == [True] * 101 + [False] * 105
    assert len(diagnostics._limits) == 101
    now[0] = 61.0
    assert diagnostics.warn("kind", "it happened", location="shop.py:7")
    assert diagnostics.warn("kind", "it happened", location="other.py:1")
    texts = [record.getMessage() for record in caplog.records[-2:]]
    assert [text.partition("(")[2].split()[0] for text in texts] == ["1", "5"]


def test_threads_count_together(caplog):
    """Concurrent messages of one kind write one line, and each is counted.

    A counter that is read, increased and written back lost up to a half of them.
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

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 5
    # A message at the start of a minute may be counted in either line.
    counts = [int(more) for line in lines for more in re.findall(r"\((\d+) more", line)]
    assert sum(counts) + len(lines) == 4 * 4000 + 1


def test_a_message_during_counting_is_counted(caplog):
    """A signal handler that warns while its thread holds the lock does not wait."""
    now = [0.0]
    diagnostics = Diagnostics(clock=lambda: now[0])
    with held(diagnostics._lock):
        diagnostics.warn("kind", "it happened")
    diagnostics.warn("kind", "it happened")

    assert [record.getMessage() for record in caplog.records] == [
        "it happened (1 more of this kind since the last line)"
    ]


def test_a_line_is_a_log_record(caplog, capsys):
    """If logging shows text, the line is a record of the logger odp_logging."""
    report("a line")

    assert caplog.records[0].name == "odp_logging"
    assert capsys.readouterr().err == ""


def test_without_handlers_the_line_is_on_stderr(capsys):
    """If no handler would show it, the line goes to stderr."""
    with only_handlers():
        report("a line")

    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_with_only_an_odp_handler_the_line_is_on_stderr(capsys):
    """OdpHandler shows no text, so the line goes to stderr."""
    with only_handlers(OdpHandler(enabled=False)):
        report("a line")

    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_a_logger_disabled_by_dict_config_still_reports(capsys, monkeypatch):
    """dictConfig's disable_existing_loggers does not silence losses."""
    monkeypatch.setattr(LOGGER, "disabled", True)
    report("a line")

    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_the_level_of_the_logger_silences_it(capsys):
    """A level set on the logger odp_logging itself silences lines below it."""
    LOGGER.setLevel(logging.CRITICAL)
    try:
        with only_handlers():
            report("a line")
    finally:
        LOGGER.setLevel(logging.NOTSET)

    assert capsys.readouterr().err == ""


class CollectingHandler(logging.Handler):
    """A handler that keeps the formatted text."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the formatted text."""
        self.lines.append(self.format(record))


def drop_all(record: logging.LogRecord) -> bool:
    """Drop every record."""
    return False


def build_once_filter() -> Any:
    """Return a filter that passes each text once."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        known = record.getMessage() in seen
        seen.add(record.getMessage())
        return not known

    return is_new


@pytest.mark.parametrize("filters", [[], [build_once_filter()], [lambda record: True]])
def test_a_line_that_a_handler_shows_is_not_on_stderr(capsys, filters):
    """A handler for warnings, with filters or without, shows the line once."""
    handler = CollectingHandler(logging.WARNING)
    handler.filters += filters
    with only_handlers(CollectingHandler(logging.ERROR), handler):
        report("a line")

    assert (handler.lines, capsys.readouterr().err) == (["a line"], "")


@pytest.mark.parametrize("refusing", ["level", "filter", "own filter", "logger filter"])
def test_a_line_that_no_handler_shows_is_on_stderr(capsys, monkeypatch, refusing):
    """The level and the filters of the only handler apply, as for mail_admins."""
    handler = CollectingHandler(
        logging.ERROR if refusing == "level" else logging.NOTSET
    )
    if refusing == "filter":
        handler.addFilter(drop_all)
    elif refusing == "own filter":
        monkeypatch.setattr(CollectingHandler, "filter", lambda self, record: False)
    elif refusing == "logger filter":
        monkeypatch.setattr(LOGGER, "filters", [drop_all])
    with only_handlers(handler):
        report("a line")

    assert handler.lines == []
    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_a_logger_that_does_not_propagate_is_on_stderr(capsys, monkeypatch):
    """Without propagation, the root logger's handlers do not get the line."""
    monkeypatch.setattr(LOGGER, "propagate", False)
    handler = CollectingHandler()
    with only_handlers(handler):
        report("a line")

    assert handler.lines == []
    assert capsys.readouterr().err == "odp_logging: a line\n"


def test_a_root_logger_at_error_does_not_silence_a_loss(capsys):
    """The root logger's level does not hide a warning, only lines below it."""
    handler, root = CollectingHandler(), logging.getLogger()
    with only_handlers(handler):
        before = root.level
        root.setLevel(logging.ERROR)
        try:
            report("a warning")
            report("a note", logging.INFO)
        finally:
            root.setLevel(before)

    assert handler.lines == []
    assert capsys.readouterr().err == "odp_logging: a warning\n"


def test_a_line_below_warning_is_not_on_stderr(capsys, monkeypatch):
    """A line below WARNING that no handler shows does not go to stderr."""
    monkeypatch.setattr(LOGGER, "level", logging.INFO)
    handler = CollectingHandler(logging.WARNING)
    with only_handlers(handler):
        report("a note", logging.INFO)

    assert (handler.lines, capsys.readouterr().err) == ([], "")


def test_logging_disable_silences_it(capsys):
    """`logging.disable` silences the library's lines as well."""
    logging.disable(logging.CRITICAL)
    try:
        with only_handlers():
            report("a line")
    finally:
        logging.disable(logging.NOTSET)

    assert capsys.readouterr().err == ""


def test_a_line_is_plain_text_in_a_pickle(caplog):
    """A pickled record can be read without this library."""
    report("a line")

    assert b"odp_logging" not in pickle.dumps(caplog.records[0].args)
    assert pickle.loads(pickle.dumps(caplog.records[0].args)) == ("a line",)


def test_an_exception_of_a_handler_is_not_raised(monkeypatch):
    """An exception of a handler does not reach the caller of `warn`."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError

    broken = Broken()
    LOGGER.addHandler(broken)
    try:
        Diagnostics().warn("kind", "a line")
    finally:
        LOGGER.removeHandler(broken)


def test_silenced_threads_write_no_line(caplog) -> None:
    """At exit only the main thread writes: a frozen thread could hold stderr's lock."""
    diagnostics = Diagnostics()
    diagnostics.silence_other_threads(time.monotonic() + 1)
    thread = threading.Thread(target=diagnostics.warn, args=("other", "other"))
    thread.start()
    thread.join()
    diagnostics.warn("main", "main")

    assert [record.getMessage() for record in caplog.records] == ["main"]


def test_a_fork_waits_for_a_line_in_progress() -> None:
    """Otherwise the child inherits the lock of stderr's buffer and hangs at its end."""
    writing, release = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            writing.set()
            release.wait(10)

    handler = Slow()
    LOGGER.addHandler(handler)
    try:
        diagnostics = Diagnostics()
        thread = threading.Thread(target=diagnostics.warn, args=("kind", "message"))
        thread.start()
        assert writing.wait(10)
        start = time.monotonic()
        diagnostics.before_fork(start + 0.1)  # bounded
        assert time.monotonic() - start >= 0.1
        release.set()
        thread.join()
        diagnostics.before_fork(time.monotonic() + 10)
        diagnostics.after_fork_in_parent()
    finally:
        LOGGER.removeHandler(handler)


def test_a_line_waits_for_a_fork_in_progress(caplog) -> None:
    """A line begun during a fork would be half written in the child."""
    diagnostics = Diagnostics()
    counts: list[int] = []
    diagnostics.before_fork(time.monotonic() + 10)
    thread = threading.Thread(target=diagnostics.warn, args=("kind", "it happened"))
    thread.start()
    thread.join(0.3)
    counts.append(len(caplog.records))
    diagnostics.after_fork_in_parent()
    thread.join(10)
    counts.append(len(caplog.records))

    assert counts == [0, 1]


def test_a_line_cannot_be_forged(caplog, capsys, monkeypatch) -> None:
    """A code position from another process cannot forge a line or an escape."""
    report("shop\n2026 forged\x1b[2J\u202e.py:1: event rejected")
    monkeypatch.setattr(LOGGER, "disabled", True)
    report("shop\ud800.py\r:1: event rejected")

    assert caplog.messages == ["shop?2026 forged?[2J?.py:1: event rejected"]
    assert capsys.readouterr().err == "odp_logging: shop?.py?:1: event rejected\n"
