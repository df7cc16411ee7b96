"""The doctor checks where OdpProcessor stands, and structlog's switches."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog

from odp_logging import OdpProcessor
from odp_logging._cli.doctor.structlog import check_structlog

from .conftest import add_handler


def render(_: Any, __: str, event_dict: Any) -> Any:
    """A processor of the application."""
    return event_dict


MERGE = structlog.contextvars.merge_contextvars
JSON = structlog.processors.JSONRenderer()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([MERGE, render], [JSON], ""),
        ([], [], ""),
        ([MERGE, JSON], [], "after JSONRenderer"),
        (
            [structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            [],
            "after wrap_for_formatter",
        ),
        ([], [MERGE, JSON], "before merge_contextvars"),
    ],
)
def test_the_position_of_the_processor_is_checked(before, after, expected):
    """It must stand before renderers, and after merge_contextvars."""
    processor = OdpProcessor(api_key="k", handle_sigterm=False)
    structlog.configure(processors=[*before, processor, *after])
    (result,) = check_structlog()

    assert result.kind == ("problem" if expected else "ok")
    assert expected in result.found


def test_switches_of_structlog_are_checked():
    """A second OdpProcessor, a level above INFO and the cache are reported."""
    processor = OdpProcessor(api_key="k", handle_sigterm=False)
    structlog.configure(
        processors=[processor, processor],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=True,
    )
    texts = [f"{result.kind} {result.found}" for result in check_structlog()]

    assert texts[0].startswith("ok ")
    assert texts[1] == "problem 2 OdpProcessors stand in one chain"
    assert texts[2].startswith("problem its wrapper_class lets WARNING and above")
    assert texts[3].startswith("hint cache_logger_on_first_use is on")


def test_structlog_without_an_odp_processor_is_not_checked():
    """Without an OdpProcessor, no switch of structlog matters."""
    structlog.configure(processors=[JSON], cache_logger_on_first_use=True)

    assert list(check_structlog()) == []


def check_chain(*processors: Any, **more: Any) -> list[str]:
    structlog.configure(processors=processors, **more)
    return [f"{result.found} -> {result.advice}" for result in check_structlog()]


STDLIB: dict[str, Any] = {"logger_factory": structlog.stdlib.LoggerFactory()}


def test_structlog_without_an_odp_processor_is_a_hint():
    """With an OdpHandler, tags in calls of structlog are meant to reach it."""
    add_handler(None, api_key="k")
    assert list(check_structlog()) == []  # no configure(): a library may import it

    (printed,) = check_chain(MERGE, JSON)
    assert printed == (
        "structlog has no OdpProcessor: odp_action in a call of structlog has no effect"
        " -> put odp_logging.OdpProcessor() before JSONRenderer"
    )
    (rendered,) = check_chain(MERGE, JSON, **STDLIB)
    assert rendered.startswith(
        "JSONRenderer turns events into text before logging gets them: odp_action in"
    )
    (own,) = check_chain(MERGE, render, **STDLIB)
    assert own.endswith("OdpProcessor() before the renderer")


@pytest.mark.parametrize(
    "last",
    [
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        structlog.stdlib.render_to_log_kwargs,
    ],
)
def test_an_odp_handler_behind_structlog_gets_the_fields(last):
    """Where structlog hands its event dict over, an OdpHandler is enough."""
    add_handler(None, api_key="k")

    assert check_chain(MERGE, last, **STDLIB) == []


def test_an_odp_processor_in_a_formatter_counts():
    """It is no part of structlog's own chain."""
    logger, _ = add_handler(None, api_key="k")
    processor = OdpProcessor(api_key="k", handle_sigterm=False)
    printing = logging.StreamHandler()
    printing.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[processor, JSON])
    )
    logger.addHandler(printing)

    assert check_chain(render, **STDLIB) == []
