"""The doctor finds records that do not reach ODP, and fields that are printed."""

from __future__ import annotations

import logging
import logging.handlers
import queue

import pytest

from odp_logging import HideOdpFields
from odp_logging._cli.doctor.check_result import CheckResult
from odp_logging._cli.doctor.loggers import check_logging

from .conftest import add_handler


def check(*, imported: bool = True) -> dict[str, CheckResult]:
    """Check the loggers; return the findings by check."""
    results = list(check_logging(imported=imported))
    found = {result.check: result for result in results}
    assert len(found) == len(results)
    return found


def test_a_missing_handler_is_a_problem():
    """It is a hint if no application was imported, or if a queue leads elsewhere."""
    assert check()["handlers"].kind == "problem"
    assert check(imported=False)["handlers"].kind == "hint"

    logging.getLogger().addHandler(logging.handlers.QueueHandler(queue.Queue()))
    assert "leads to a queue" in check()["handlers"].found


@pytest.mark.parametrize(
    ("logger_level", "handler_level", "problem"),
    [
        (logging.INFO, "NOTSET", False),
        (logging.DEBUG, "INFO", False),
        (logging.WARNING, "NOTSET", True),
        (None, "NOTSET", True),
        (logging.INFO, "ERROR", True),
    ],
)
def test_a_level_above_info_is_a_problem(logger_level, handler_level, problem):
    """A level of the logger or the handler that suppresses INFO is a problem."""
    add_handler("shop", logger_level, api_key="k", level=handler_level)
    result = check()["levels"]

    assert result.kind == ("problem" if problem else "ok")
    assert "OdpHandler on shop" in result.found


def test_a_logger_with_a_level_of_its_own_counts():
    """A handler on the root gets INFO from a logger with the level INFO."""
    add_handler(None, logging.WARNING, api_key="k")
    logging.getLogger("shop.orders").setLevel(logging.INFO)

    assert check()["levels"].found.endswith("gets INFO from shop.orders")


def test_logging_disable_is_a_problem():
    """A call of logging.disable() is named, with its level."""
    add_handler("shop", api_key="k")
    logging.disable(logging.WARNING)

    assert "logging.disable(WARNING)" in check()["levels"].found


def test_a_disabled_logger_is_a_problem():
    """Loggers that dictConfig disabled are named, except for those of libraries."""
    add_handler(None, api_key="k")
    for name in ("urllib3.connectionpool", "asyncio"):
        logging.getLogger(name).disabled = True
    assert "disabled" not in check()

    logging.getLogger("shop").disabled = True
    assert check()["disabled"].found == "1 logger disabled: shop"
    assert "disable_existing_loggers" in check()["disabled"].advice


def test_a_logger_that_does_not_propagate_is_a_hint():
    """Its records reach its own handlers, and no OdpHandler above it."""
    add_handler(None, api_key="k")
    logger = logging.getLogger("uvicorn.access")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False

    assert check()["propagation"].kind == "hint"
    assert "uvicorn.access" in check()["propagation"].found


def test_a_logger_whose_records_reach_no_handler_is_a_problem():
    """Without propagation and handlers its records are lost; libraries may mean it."""
    add_handler(None, api_key="k")
    for name in ("pytest.noise", "shop.orders"):
        logging.getLogger(name).propagate = False
    result = check()["propagation"]

    assert result.kind == "problem"
    assert result.found.startswith("shop.orders leads to no handler at all: propagate")

    logging.getLogger("shop.orders").disabled = True
    assert "propagation" not in check()


def test_loggers_of_the_application_come_first():
    """Messages show a few names, and libraries' loggers log no events."""
    add_handler(None, api_key="k")
    for name in ("asyncio", "pytest.noise", "requests", "shop", "zoo.orders"):
        logging.getLogger(name)

    assert check()["levels"].found.endswith(
        "gets INFO from the root logger, shop, zoo.orders, asyncio, pytest.noise and 1"
        " more"
    )


def test_two_handlers_on_one_path_are_a_hint():
    """Two handlers to one destination are reported if one record passes both."""
    add_handler("shop", api_key="k")
    add_handler("other", api_key="k")
    assert all(result.kind == "ok" for result in check_logging(imported=True))

    add_handler(None, api_key="k")
    found = [
        result for result in check_logging(imported=True) if result.check == "double"
    ]
    assert [result.kind for result in found] == ["hint"] * 2
    assert "on other and the root logger: each event is sent once" in found[0].found


def test_two_destinations_on_one_path_are_ok():
    """Handlers to different accounts do not repeat each other."""
    add_handler("shop", api_key="k")
    add_handler(None, api_key="another")

    assert {result.kind for result in check_logging(imported=True)} == {"ok"}


def test_the_target_of_a_memory_handler_counts():
    """A handler that a MemoryHandler passes records to is found."""
    _, handler = add_handler("shop", api_key="k")
    logging.getLogger("shop").removeHandler(handler)
    memory = logging.handlers.MemoryHandler(10, target=handler)
    logging.getLogger("shop").addHandler(memory)

    assert check()["levels"].kind == "ok"
    handler.close()


@pytest.mark.parametrize("name", [None, "shop"])
def test_a_logger_without_a_printing_handler_is_a_hint(monkeypatch, name):
    """With the first handler, Python's own output of warnings to stderr ends."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger, handler = add_handler(name, api_key="k")
    assert check()["console"].kind == "hint"
    assert (name or "the root logger") in check()["console"].found

    logger.removeHandler(handler)
    logger.addHandler(logging.handlers.MemoryHandler(10, target=handler))
    logger.addHandler(logging.NullHandler())
    assert check()["console"].kind == "hint"

    logging.getLogger().addHandler(logging.StreamHandler())
    assert "console" not in check()


LIBRARIES = {
    "ecs_logging": ("StdlibFormatter", "ecs-logging"),
    "json_log_formatter": ("JSONFormatter", "json-log-formatter"),
    "logfmter": ("Logfmter", "logfmter"),
    "logstash_async.formatter": ("LogstashFormatter", "python-logstash-async"),
    "pythonjsonlogger.json": ("JsonFormatter", "python-json-logger"),
}


@pytest.mark.parametrize("subclass", [False, True])
@pytest.mark.parametrize("module", LIBRARIES)
def test_a_formatter_that_prints_all_fields_is_a_hint(module, subclass):
    """It is none with the filter HideOdpFields."""
    formatter, shown = LIBRARIES[module]
    kind = getattr(pytest.importorskip(module), formatter)
    logger, _ = add_handler(None, api_key="k")
    printing = logging.StreamHandler()
    printing.setFormatter(type("Own", (kind,), {})() if subclass else kind())
    logger.addHandler(printing)
    assert check()["privacy"].kind == "hint"
    assert check()["privacy"].found.startswith(shown)

    printing.addFilter(HideOdpFields())
    assert "privacy" not in check()
