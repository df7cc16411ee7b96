"""OdpProcessor: native structlog, structlog over logging, and both at once."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.handlers
import queue
from typing import Any

import pytest
import structlog
from structlog.stdlib import ProcessorFormatter

from odp_logging import (
    ConfigurationError,
    HideOdpFields,
    OdpClient,
    OdpHandler,
    OdpProcessor,
    bound_identifiers,
)
from odp_logging.emulator import Emulator

TAGGED = {
    "odp_action": "purchased",
    "odp_identifiers": {"email": "a@example.com"},
    "odp_data": {"item": "shirt"},
}


def sent(client: OdpClient, emulator: Emulator) -> list[Any]:
    """Return the events that arrived at the emulator."""
    assert client.flush(5)
    return [each["event"] for each in emulator.events()]


def native(processor: OdpProcessor, *more: Any) -> tuple[Any, io.StringIO]:
    """Return a structlog logger without logging, and what it prints."""
    printed = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            processor,
            *(more or [structlog.processors.JSONRenderer()]),
        ],
        logger_factory=structlog.PrintLoggerFactory(printed),
    )
    return structlog.get_logger(), printed


def test_a_tagged_structlog_event_is_sent_and_printed_without_its_tags(
    client, emulator
):
    """In structlog's own chain a tagged event is sent, and printed without its tags."""
    log, printed = native(OdpProcessor(client))
    log.info("purchase", order=5, **TAGGED)

    (event,) = sent(client, emulator)
    assert event["action"] == "purchased"
    assert event["identifiers"] == {"email": "a@example.com"}
    assert event["data"]["item"] == "shirt"
    assert json.loads(printed.getvalue()) == {
        "event": "purchase",
        "level": "info",
        "order": 5,
    }


def test_untagged_events_are_returned_unchanged(client):
    """An event without a tag is returned as the same object."""
    event_dict = {"event": "hello"}

    assert OdpProcessor(client)(None, "info", event_dict) is event_dict
    assert client.stats.accepted == 0


def test_identifiers_of_untagged_events_are_not_printed(client):
    """Bound identifiers are not printed with untagged events."""
    log, printed = native(OdpProcessor(client))
    structlog.contextvars.bind_contextvars(odp_identifiers={"email": "a@example.com"})
    log.info("hello")

    assert "example.com" not in printed.getvalue()


def test_strip_can_be_turned_off(client, emulator):
    """With strip=False everything is printed as it was logged, and sent once."""
    log, printed = native(OdpProcessor(client, strip=False))
    log.info("purchase", **TAGGED)

    assert len(sent(client, emulator)) == 1
    assert json.loads(printed.getvalue())["odp_action"] == "purchased"
    assert "a@example.com" in printed.getvalue()


def test_the_event_dict_is_not_changed(client):
    """The processor returns another dict."""
    event_dict = {"event": "purchase", **TAGGED}

    assert OdpProcessor(client)(None, "info", event_dict) == {"event": "purchase"}
    assert event_dict == {"event": "purchase", **TAGGED}


def test_merge_contextvars(client, emulator):
    """Identifiers and data bound in structlog's contextvars reach tagged events."""
    log, _ = native(OdpProcessor(client))
    structlog.contextvars.bind_contextvars(
        odp_identifiers={"fs_user_id": "u1"}, odp_data={"page": "basket"}
    )
    log.info("x", odp_action="viewed")
    log.info("x", odp_action="viewed", odp_identifiers={"email": "b@example.com"})

    first, second = sent(client, emulator)
    assert first["identifiers"] == {"fs_user_id": "u1"}
    assert first["data"]["page"] == "basket"
    assert second["identifiers"] == {"fs_user_id": "u1", "email": "b@example.com"}


def test_fields_bound_to_a_logger_are_sent(client, emulator):
    """Fields bound to a logger count like those of the call."""
    log, _ = native(OdpProcessor(client))
    log.bind(odp_identifiers={"fs_user_id": "u1"}).info("x", odp_action="viewed")

    assert sent(client, emulator)[0]["identifiers"] == {"fs_user_id": "u1"}


def test_async_loggers_keep_the_context(client, emulator):
    """await log.ainfo() carries the context to its executor's thread."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            OdpProcessor(client),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
    )

    async def request() -> None:
        with bound_identifiers(fs_user_id="u1"):
            await structlog.get_logger().ainfo("x", odp_action="viewed")
        await structlog.get_logger().ainfo("x", odp_action="viewed")

    asyncio.run(request())
    assert sent(client, emulator)[0]["identifiers"] == {"fs_user_id": "u1"}
    assert client.stats.rejected == {"no_identifiers": 1}


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_rejected_event_is_reported_with_file_and_line(client, caplog, way):
    """A rejected structlog event is reported with the place of its log call."""
    log, _ = native(OdpProcessor(client))
    if way == "sync":
        log.info("x", odp_action="viewed")
    else:
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
        )

        async def request() -> None:
            await structlog.get_logger().ainfo("x", odp_action="viewed")

        asyncio.run(request())
    assert client.flush(5)

    said = [each.getMessage() for each in caplog.records if each.name == "odp_logging"]
    assert len(said) == 1
    assert said[0].startswith(f"{__file__}:")


def over_logging(logger: logging.Logger, *processors: Any) -> Any:
    """Configure structlog over *logger* and return a logger of it."""
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, *processors],
        logger_factory=lambda *args: logger,
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return structlog.get_logger()


def console(
    logger: logging.Logger, formatter: logging.Formatter | None = None
) -> io.StringIO:
    """Add a handler that prints to *logger*, and return what it prints."""
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    if formatter:
        handler.setFormatter(formatter)
    logger.addHandler(handler)
    return printed


def json_formatter(*before: Any) -> ProcessorFormatter:
    """Return structlog's formatter for logging, with processors of its own."""
    return ProcessorFormatter(
        processors=[
            *before,
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
    )


@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("handler_too", [False, True])
@pytest.mark.parametrize("bridge", ["wrap_for_formatter", "render_to_log_kwargs"])
def test_an_event_over_logging_is_sent_once(
    client, emulator, logger, bridge, handler_too, strip
):
    """With and without a handler on the same path."""
    bridges = {
        "wrap_for_formatter": ProcessorFormatter.wrap_for_formatter,
        "render_to_log_kwargs": structlog.stdlib.render_to_log_kwargs,
    }
    printed = console(logger, json_formatter())
    if handler_too:
        logger.addHandler(OdpHandler(client=client))
    log = over_logging(logger, OdpProcessor(client, strip=strip), bridges[bridge])
    log.info("purchase", **TAGGED)

    assert len(sent(client, emulator)) == 1
    assert ("a@example.com" in printed.getvalue()) is (not strip)


@pytest.mark.parametrize("bridge", ["wrap_for_formatter", "render_to_log_kwargs"])
def test_the_handler_alone_reads_structlogs_fields(client, emulator, logger, bridge):
    """Without a processor, the handler finds the tags in the event dict."""
    bridges = {
        "wrap_for_formatter": ProcessorFormatter.wrap_for_formatter,
        "render_to_log_kwargs": structlog.stdlib.render_to_log_kwargs,
    }
    logger.addHandler(OdpHandler(client=client))
    log = over_logging(logger, bridges[bridge])
    log.info("purchase", **TAGGED)
    log.info("hello")

    (event,) = sent(client, emulator)
    assert event["data"]["item"] == "shirt"
    assert client.stats.accepted == 1


@pytest.mark.parametrize("handler", [None, "first", "last"])
def test_an_event_within_processor_formatter_is_sent_once(
    client, emulator, logger, handler
):
    """With two printing handlers and an OdpHandler."""
    processor = OdpProcessor(client)
    if handler == "first":
        logger.addHandler(OdpHandler(client=client))
    printed = [console(logger, json_formatter(processor)) for _ in range(2)]
    if handler == "last":
        logger.addHandler(OdpHandler(client=client))
    log = over_logging(logger, ProcessorFormatter.wrap_for_formatter)
    log.info("purchase", **TAGGED)

    assert len(sent(client, emulator)) == 1
    assert all("example.com" not in each.getvalue() for each in printed)


@pytest.mark.parametrize("handler", ["first", "last"])
def test_plain_records_within_processor_formatter_are_left_to_the_handler(
    client, emulator, logger, handler
):
    """The handler sends logging's own records; the formatter hides the tags."""
    if handler == "first":
        logger.addHandler(OdpHandler(client=client))
    printed = [console(logger, json_formatter(OdpProcessor(client))) for _ in range(2)]
    if handler == "last":
        logger.addHandler(OdpHandler(client=client))
    logger.info("purchase", extra=TAGGED)

    assert len(sent(client, emulator)) == 1
    assert all("example.com" not in each.getvalue() for each in printed)


def shared_formatter(processor: OdpProcessor, *adder: Any) -> ProcessorFormatter:
    """Return structlog's formatter with its processors in ``foreign_pre_chain``."""
    return ProcessorFormatter(
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=[structlog.stdlib.add_log_level, *adder, processor],
    )


EXTRA = structlog.stdlib.ExtraAdder()


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("adder", [[EXTRA], []])
def test_foreign_pre_chain_sends_plain_records_once(
    client, emulator, logger, caplog, adder, hidden
):
    """A record is sent once, whatever number of handlers print it."""
    processor = OdpProcessor(client)
    printed = [console(logger, shared_formatter(processor, *adder)) for _ in range(2)]
    if hidden:
        logger.addFilter(HideOdpFields())
    with bound_identifiers(vuid="v"):
        for number in range(3):
            logger.info("purchase", extra={**TAGGED, "odp_data": {"n": number}})
    logger.info("hello")
    over_logging(logger, processor, ProcessorFormatter.wrap_for_formatter).info(
        "purchase", **TAGGED
    )
    logger.info("nobody", extra={"odp_action": "bad", "odp_identifiers": {"a": True}})
    events = sent(client, emulator)

    assert [each["data"].get("n") for each in events] == [0, 1, 2, None]
    assert [each["identifiers"].get("vuid") for each in events] == ["v"] * 3 + [None]
    assert "test_processor.py:" in caplog.text
    assert client.stats.rejected == {"no_identifiers": 1}
    assert all("example.com" not in each.getvalue() for each in printed)


@pytest.mark.parametrize("other", ["handler", "queue", "target"])
def test_foreign_pre_chain_leaves_a_record_to_a_handler(
    client, emulator, logger, other
):
    """A record that an OdpHandler gets, now or behind a queue, is not sent."""
    ours = OdpHandler(client=client)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, ours)
    others = {
        "handler": ours,
        "queue": logging.handlers.QueueHandler(waiting),
        "target": logging.handlers.MemoryHandler(1, target=ours),
    }
    console(logger, shared_formatter(OdpProcessor(client), EXTRA))
    logger.addHandler(others[other])
    listener.start()
    logger.info("purchase", extra=TAGGED)
    listener.stop()

    assert len(sent(client, emulator)) == 1
    assert client.stats.accepted == 1


def test_foreign_pre_chain_sends_to_its_own_account(client, emulator, logger):
    """An OdpHandler for another account does not count."""
    with Emulator() as other, OdpClient("k", api_host=other.url) as second:
        logger.addHandler(OdpHandler(client=second))
        console(logger, shared_formatter(OdpProcessor(client), EXTRA))
        logger.info("purchase", extra=TAGGED)

        assert len(sent(client, emulator)) == len(sent(second, other)) == 1


def test_two_handlers_and_a_formatter_send_once_each(client, emulator, logger):
    """Two handlers both send structlog's event; the formatter does not again."""
    with Emulator() as other, OdpClient("k", api_host=other.url) as second:
        logger.addHandler(OdpHandler(client=client))
        logger.addHandler(OdpHandler(client=second))
        console(logger, json_formatter(OdpProcessor(client)))
        over_logging(logger, ProcessorFormatter.wrap_for_formatter).info("x", **TAGGED)

        assert len(sent(client, emulator)) == len(sent(second, other)) == 1


def test_a_processor_behind_the_renderer_warns_once(client, capsys, caplog):
    """It returns the text unchanged."""
    log, printed = native(structlog.processors.JSONRenderer(), OdpProcessor(client))
    log.info("purchase", **TAGGED)
    log.info("purchase", **TAGGED)

    assert printed.getvalue().count("purchase") == 4
    said = [each.getMessage() for each in caplog.records if each.name == "odp_logging"]
    assert said == [
        "OdpProcessor was given a str; put it before the renderer, where the event"
        " still is a dict"
    ]


class Bad:
    """Raises whenever it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError("never")


def test_the_processor_never_raises(client, emulator):
    """Whatever is in the event dict, log.info returns and the next event is sent."""
    processor = OdpProcessor(client)
    for field in TAGGED:
        processor(None, "info", {**TAGGED, field: Bad()})
    processor(None, "info", {**TAGGED, "_record": Bad()})
    for odd in (None, 5, "text", b"bytes", (), Bad()):
        assert processor(None, "info", odd) is odd

    processor(None, "info", dict(TAGGED))
    assert len(sent(client, emulator)) >= 1
    stats = client.stats
    assert stats.accepted == stats.delivered + sum(stats.rejected.values())


def test_flush_level(emulator):
    """An event whose method is at flush_level is sent at once."""
    client = OdpClient(
        "test-key-that-nobody-may-see",
        api_host=emulator.url,
        flush_interval=60,
        flush_level="ERROR",
    )
    with client:
        processor = OdpProcessor(client)
        processor(None, "info", dict(TAGGED))
        processor(None, "error", dict(TAGGED))

        assert emulator.wait_for(2, timeout=5)


def test_a_processor_with_settings_has_its_own_client(emulator):
    """Given settings, the processor has a client of its own."""
    processor = OdpProcessor(
        api_key="test-key-that-nobody-may-see", api_host=emulator.url
    )
    processor(None, "info", dict(TAGGED))

    assert processor.client.flush(5)
    assert len(emulator.events()) == 1
    processor.client.close()


def test_bad_settings_are_refused(client):
    """A misspelt setting, or settings next to a client, raise in the constructor."""
    with pytest.raises(ConfigurationError, match="max_batch_size"):
        OdpProcessor(max_batchsize=5)
    with pytest.raises(ConfigurationError, match="client="):
        OdpProcessor(client, max_batch_size=5)


class Unprintable:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("strip", [True, False])
def test_an_action_without_text_raises_nothing(client, strip):
    """An action whose str() raises is rejected, whatever strip says."""
    processor = OdpProcessor(client, strip=strip)
    processor(None, "info", {"event": "x", **TAGGED, "odp_action": Unprintable()})

    assert client.flush(5)
    assert client.stats.rejected == {"bad_action": 1}


def test_a_key_in_the_place_of_the_client_is_not_shown():
    """OdpProcessor("key") is refused with a line that does not hold the key."""
    with pytest.raises(ConfigurationError, match="api_key=") as caught:
        OdpProcessor("a-key-in-the-wrong-place")

    assert "wrong-place" not in str(caught.value)
