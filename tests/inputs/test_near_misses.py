"""A log call that was meant to be an event is told, with its file and line."""

import inspect
import logging
import logging.handlers
import pickle
import queue

import pytest
import structlog

import odp_logging
from odp_logging import HideOdpFields, OdpHandler, OdpProcessor
from odp_logging._capture import call_sites, interception

WHO = {"email": "ada@example.com"}


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Let each test be the first that logs, and count its lines alone."""
    call_sites.SEEN_LINES.clear()
    call_sites._get_diagnostics.cache_clear()


@pytest.fixture
def log(client, logger):
    """Return a logger with a handler of ours."""
    logger.addHandler(OdpHandler(client=client))
    return logger


@pytest.fixture
def said(caplog):
    """Return what the library warned of so far."""
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == "odp_logging" and "event rejected" not in record.getMessage()
    ]


def line():
    """Return the file and line before the one from which this is called."""
    frame = inspect.currentframe().f_back
    return f"{__file__}:{frame.f_lineno - 1}"


def test_a_misspelt_tag_is_told_with_file_and_line(log, said, client):
    """The line has the correction, and no value of the record."""
    log.info("x", extra={"odp_acton": "b", "odp_identifiers": WHO})
    at = line()
    assert said() == [
        f'{at}: no event was sent: "odp_acton" is not a field of an event;'
        ' did you mean "odp_action"?'
    ]
    assert client.stats.accepted == 0


@pytest.mark.parametrize(
    "extra",
    [
        {"odpAction": "b"},
        {"odp_event": "b", "request": 1},
        {"action": "b", "odp_identifiers": WHO},
        {"odp_data": {"price": 5}},
        {"odp_identifiers": WHO},
        {"odp": {"action": "b", "identifiers": WHO}},
    ],
)
def test_each_kind_is_told_once_for_its_line(log, said, extra):
    """A line that is logged often does not repeat it."""
    for _ in range(5):
        log.info("sold", extra=extra)
    assert len(said()) == 1


def test_two_lines_are_both_told(log, said):
    """Neither is kept back because of the other."""
    log.info("sold", extra={"odp_acton": "b"})
    log.info("sold", extra={"odp_acton": "b"})
    assert len(said()) == 2


def test_a_forgotten_extra_is_told(log, said):
    """logging takes a single dict as the argument of the message."""
    log.info("sold", {"odp_action": "b", "odp_identifiers": WHO})
    assert [text.partition(": no event")[2] for text in said()] == [
        " was sent: the dict with the odp_* fields is an argument of the message;"
        " did you mean extra={...}?"
    ]
    log.info("sold %(odp_action)s", {"odp_action": "b"})
    log.info("sold %(price)s", {"price": 5})
    assert len(said()) == 1


@pytest.mark.parametrize("given", ["odp_identifier", "odp_ids", "identifiers"])
def test_a_misspelt_identifiers_field_is_named(log, said, client, given):
    """The event itself is rejected as before."""
    log.info("sold", extra={"odp_action": "b", given: WHO})
    (text,) = said()
    assert text.endswith(
        f'"{given}" is not a field of an event; did you mean "odp_identifiers"?'
    )
    assert client.flush(5)
    assert client.stats.rejected == {"no_identifiers": 1}


@pytest.mark.parametrize(
    "fields", [{"odp_datas": {}}, {"odp_data": {}, "odp_tpye": "x", "request": 1}]
)
def test_an_event_with_a_misspelt_field_is_sent_and_told(log, said, client, fields):
    """The fast path stands back for the first record of a line."""
    for _ in range(3):
        log.info("x", extra={"odp_action": "b", "odp_identifiers": WHO, **fields})
    assert len(said()) == 1
    assert "the field is ignored" in said()[0]
    assert client.flush(5)
    assert client.stats.delivered == 3


@pytest.mark.parametrize(
    "extra",
    [
        {"action": "login"},
        {"event": "x", "type": "y", "data": {}, "identifiers": []},
        {"odp_host": "x", "odp_time": 3},
        {"odp_action": "b", "odp_identifiers": WHO, "odp_type": "t", "request": 1},
        odp_logging.event("b", WHO, type="t", data={"x": 1}, timestamp=1.0),
    ],
)
def test_ordinary_fields_are_not_told(log, said, extra):
    """Neither of untagged nor of tagged records."""
    log.info("sold", extra=extra)
    assert said() == []


def test_fields_that_an_adapter_or_a_filter_adds_are_not_told(log, said):
    """They are on each record, for the tagged ones. A misspelt one still is told."""
    adapter = logging.LoggerAdapter(log, {"odp_identifiers": WHO})
    adapter.info("viewed")
    log.addFilter(lambda record: record.__dict__.update(odp_identifiers=WHO) or True)
    log.info("viewed")
    log.info("viewed", extra={"request": 1})
    assert said() == []
    logging.LoggerAdapter(log, {"odp_identifer": WHO}).info("viewed")
    assert len(said()) == 1


def test_records_of_a_queue_listener(log, said):
    """The record's own line is told, and bound fields are not."""
    records = queue.SimpleQueue()
    shop = logging.Logger("shop")
    shop.addHandler(logging.handlers.QueueHandler(records))
    shop.info("sold", extra={"odp_acton": "b"})
    at = line()
    shop.info("sold", extra={"odp_identifiers": WHO})
    while not records.empty():
        log.handle(records.get())
    assert len(said()) == 1
    assert said()[0].startswith(f"{at}: ")


def test_hidden_fields_beside_a_misspelt_tag_are_told(log, said):
    """`HideOdpFields` has moved the identifiers by then."""
    log.addFilter(HideOdpFields())
    log.info("sold", extra={"action": "b", "odp_identifiers": WHO})
    assert "did you mean" in said()[0]


def test_odd_records_and_exhausted_memory_of_lines(log, said, client, monkeypatch):
    """Nothing raises, and nothing is counted as a failure."""

    class Odd(dict):
        def __iter__(self):
            raise ValueError("never")

        __contains__ = keys = items = __getitem__ = __iter__

    (handler,) = [each for each in log.handlers if isinstance(each, OdpHandler)]
    log.info("sold", extra={"odp": Odd(action=1), "x": 1})
    for fields in (
        {"pathname": [], "lineno": {}, "odp_acton": "b"},
        {"args": {"odp_action": "b"}, 1: 2},
    ):
        record = logging.makeLogRecord(fields)
        handler.handle(record)
        handler.handle(pickle.loads(pickle.dumps(record)))
    told = len(said())
    monkeypatch.setattr(call_sites, "MAX_LINES", 0)
    log.info("viewed", extra={"request": 1})
    log.info("sold", extra={"odp_acton": "b"})
    assert len(said()) == told
    assert (client.stats.accepted, client.stats.rejected) == (0, {})


def test_a_listener_that_raises_does_not_reach_the_log_call(log, said, monkeypatch):
    """It is code of a test runner."""
    monkeypatch.setattr(interception, "near_miss_listeners", [lambda *given: 1 / 0])
    log.info("sold", extra={"odp_acton": "b"})
    assert len(said()) == 1


@pytest.fixture
def structlogger(client):
    """Return a structlog logger with a processor of ours."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            OdpProcessor(client),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield structlog.get_logger()
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "fields",
    [
        {"odp_acton": "b", "odp_identifiers": WHO},
        {"action": "b", "odp_identifiers": WHO},
        {"odp_data": {"price": 5}},
        {"odp": {"action": "b"}},
        {"odp_action": "b", "odp_identifier": WHO},
    ],
)
def test_structlog_near_misses_are_told_once(structlogger, said, fields):
    """With the line of the log call."""
    for _ in range(3):
        structlogger.info("sold", **fields)
        at = line()
    (text,) = said()
    assert text.startswith(f"{at}: ")
    assert "did you mean" in text or "is given without" in text


def test_structlog_fields_that_are_bound_are_not_told(structlogger, said, client):
    """They are on each event, for the tagged ones."""
    structlog.contextvars.bind_contextvars(odp_identifiers=WHO)
    structlogger.info("viewed")
    structlogger.info("viewed", action="login")
    structlogger.bind(odp_data={"x": 1}).info("viewed", event_id=3)
    structlogger.info("sold", odp_action="b", own=1)
    assert said() == []
    assert client.stats.accepted == 1
    structlogger.info("viewed", odp_acton="b")
    assert len(said()) == 1


def test_structlog_through_logging_is_told(log, said):
    """The event dict is the message of the record."""
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=lambda *given: log,
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    places = []
    for _ in range(2):
        structlog.get_logger().info("sold", odp_acton="b", odp_identifiers=WHO)
        places.append(line())
    structlog.get_logger().info("sold", action="b")
    structlog.get_logger().info("sold", odpAction="b")
    places.append(line())
    structlog.reset_defaults()
    first, second = said()
    assert first.startswith(f"{places[0]}: ")
    assert second.startswith(f"{places[-1]}: ")


def test_plain_records_in_a_processor_formatter_are_told(client, logger, said):
    """With the record's own line; extra need not be in the event dict."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[OdpProcessor(client)],
            processor=structlog.processors.JSONRenderer(default=repr),
        )
    )
    logger.addHandler(handler)
    logger.info("viewed", extra={"action": "login"})
    for _ in range(2):
        logger.info("sold", extra={"odp_acton": "b"})
        at = line()
    (text,) = said()
    assert text.startswith(f"{at}: ")


@pytest.mark.parametrize(
    ("identifiers", "text"),
    [
        ({"email": ""}, "email is empty"),
        ({"email": None, "phone": " "}, "email and phone are empty"),
    ],
)
def test_empty_identifiers_are_named(log, client, caplog, identifiers, text):
    """Their names, not their values."""
    log.info("sold", extra={"odp_action": "b", "odp_identifiers": identifiers})
    assert client.flush(5)
    assert f"which was not sent: {text}; pass text" in caplog.text
