"""OdpHandler: records of logging in every form, filters, and configuration files."""

from __future__ import annotations

import enum
import json
import logging
import logging.config
import logging.handlers
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import yaml

from odp_logging import (
    ConfigurationError,
    ContextFilter,
    OdpClient,
    OdpHandler,
    bind_data,
    bind_identifiers,
    clear_identifiers,
    flush,
)
from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..emulated import list_events

TAGGED = {
    "odp_action": "purchased",
    "odp_identifiers": {"fs_user_id": "u1"},
    "odp_data": {"item": "shirt"},
}


@pytest.fixture
def restore_logging() -> Any:
    """Undo what dictConfig or fileConfig does to the root logger."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, root.manager.disable
    loggers = {
        name: made.disabled
        for name, made in root.manager.loggerDict.items()
        if isinstance(made, logging.Logger)
    }
    yield
    for handler in root.handlers[:]:
        if handler not in before[0]:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name, disabled in loggers.items():
        logging.getLogger(name).disabled = disabled


def test_a_tagged_record_becomes_an_event(emulator, logger):
    """The ten lines of README: add the handler, log, and the event arrives."""
    handler = OdpHandler(KEY, api_host=emulator.url)
    logger.addHandler(handler)
    logger.info("purchase", extra={**TAGGED, "odp_type": "order"})

    assert handler.client.flush(5)
    (event,) = list_events(emulator)
    assert event["type"] == "order"
    assert event["action"] == "purchased"
    assert event["identifiers"] == {"fs_user_id": "u1"}
    assert event["data"]["item"] == "shirt"


def test_an_events_time_is_the_records(client, emulator, logger):
    """data.ts is the time of the log call, not of sending."""
    logger.addHandler(OdpHandler(client=client))
    created = []

    def note(record: logging.LogRecord) -> bool:
        record.created = 1_291_191_960.75
        created.append(record)
        return True

    logger.addFilter(note)
    logger.info("purchase", extra=TAGGED)

    assert client.flush(5)
    assert list_events(emulator)[0]["data"]["ts"] == 1_291_191_960


def test_timestamp_and_id_come_from_the_record_if_it_has_them(client, emulator, logger):
    """odp_timestamp and odp_idempotence_id are used as given."""
    logger.addHandler(OdpHandler(client=client))
    given = {"odp_timestamp": 5, "odp_idempotence_id": "mine"}
    logger.info("purchase", extra={**TAGGED, **given})

    assert client.flush(5)
    assert list_events(emulator)[0]["data"]["ts"] == 5
    assert list_events(emulator)[0]["data"]["idempotence_id"] == "mine"


def test_untagged_records_are_ignored(client, emulator, logger):
    """A record without odp_action becomes no event."""
    handler = OdpHandler(client=client)
    logger.addHandler(handler)
    logger.info("hello", extra={"odp_identifiers": {"fs_user_id": "u1"}})

    assert client.flush(5)
    assert client.stats.accepted == 0


class Held(OdpHandler):
    """A handler whose lock another thread holds."""

    def acquire(self) -> None:
        raise AssertionError("the handler's lock was taken")


@pytest.mark.parametrize("extra", [None, TAGGED], ids=["untagged", "tagged"])
def test_logging_never_takes_the_handlers_lock(client, emulator, logger, extra):
    """Neither a tagged nor an untagged record waits for the handler's lock."""
    handler = Held(client=client)
    logger.addHandler(handler)
    assert handler.lock is not None
    held = threading.Event()
    release = threading.Event()

    def hold() -> None:
        with handler.lock:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    logger.info("x", extra=extra)
    release.set()
    thread.join()

    assert client.stats.accepted == (0 if extra is None else 1)


def test_level_and_filters_apply(client, logger):
    """The handler's level and filters apply, as for any handler."""
    handler = OdpHandler(client=client, level="WARNING")
    handler.addFilter(lambda record: record.getMessage() != "no")
    logger.addHandler(handler)
    for level, message in ((20, "yes"), (30, "no"), (30, "yes")):
        logger.log(level, message, extra=TAGGED)

    assert client.stats.accepted == 1


def test_a_filter_may_replace_the_record(client, emulator, logger):
    """A record that a filter returns is used instead, as logging does from 3.12 on."""
    handler = OdpHandler(client=client)

    def replace(record: logging.LogRecord) -> Any:
        other = logging.makeLogRecord(record.__dict__)
        other.odp_data = {"item": "hat"}
        return other

    handler.addFilter(replace)
    logger.addHandler(handler)
    logger.info("purchase", extra=TAGGED)

    assert client.flush(5)
    expected = "hat" if sys.version_info >= (3, 12) else "shirt"
    assert list_events(emulator)[0]["data"]["item"] == expected


DICT_FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "class": lambda url: {
        "class": "odp_logging.OdpHandler",
        "level": "INFO",
        "api_key": KEY,
        "api_host": url,
    },
    "factory": lambda url: {
        "()": "odp_logging.OdpHandler",
        "api_key": KEY,
        "api_host": url,
    },
    "scalars": lambda url: {
        "class": "odp_logging.OdpHandler",
        "api_key": KEY,
        "api_host": url,
        "max_batch_size": "50",
        "flush_interval": "0.5",
        "flushLevel": "ERROR",
        "enabled": "true",
    },
    "references": lambda url: {
        "class": "odp_logging.OdpHandler",
        "api_key": "cfg://shop.key",
        "api_host": url,
        "default_data": {"plan": "cfg://shop.plan", "nested": {"a": "cfg://shop.plan"}},
        "before_send": "ext://tests.inputs.test_handler.keep",
    },
}


def keep(event: Any) -> Any:
    """Return *event* as it is; named in a configuration above."""
    return event


@pytest.mark.parametrize("form", DICT_FORMS)
@pytest.mark.parametrize("language", ["python", "json", "yaml"])
def test_dict_config(form, language, emulator, restore_logging):
    """dictConfig builds the handler from plain values in each form and language."""
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "shop": {"key": KEY, "plan": "pro"},
        "handlers": {"odp": DICT_FORMS[form](emulator.url)},
        "root": {"level": "INFO", "handlers": ["odp"]},
    }
    if language == "json":
        settings = json.loads(json.dumps(settings))
    elif language == "yaml":
        settings = yaml.safe_load(yaml.safe_dump(settings))
    logging.config.dictConfig(settings)
    logging.getLogger("shop").info("purchase", extra=TAGGED)

    assert flush(5)
    (event,) = list_events(emulator)
    if form == "references":
        assert event["data"]["plan"] == "pro"
        assert event["data"]["nested"] == {"a": "pro"}


@pytest.mark.parametrize("how", ["args", "kwargs"])
def test_file_config(how, emulator, restore_logging, tmp_path):
    """fileConfig builds the handler from an INI file."""
    given = {
        "args": f"args=('{KEY}',)\nkwargs={{'api_host': '{emulator.url}'}}",
        "kwargs": f"args=()\nkwargs={{'api_key': '{KEY}', 'api_host': "
        f"'{emulator.url}', 'max_batch_size': '50'}}",
    }
    path = tmp_path / "logging.ini"
    path.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=odp\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=INFO\nhandlers=odp\n"
        f"[handler_odp]\nclass=odp_logging.OdpHandler\nlevel=INFO\n{given[how]}\n"
    )
    logging.config.fileConfig(path, disable_existing_loggers=False)
    logging.getLogger("shop").info("purchase", extra=TAGGED)

    assert flush(5)
    assert len(list_events(emulator)) == 1


def test_a_bad_setting_in_dict_config_is_named(restore_logging):
    """The error of dictConfig names the setting that is wrong."""
    settings = {
        "version": 1,
        "handlers": {"odp": {"class": "odp_logging.OdpHandler", "max_batchsize": 5}},
    }
    with pytest.raises(ValueError, match="odp") as caught:
        logging.config.dictConfig(settings)

    cause = caught.value.__cause__
    assert isinstance(cause, ConfigurationError)
    assert 'did you mean "max_batch_size"' in str(cause)


def test_a_record_behind_a_queue_gives_the_same_event(client, emulator, logger):
    """Behind QueueHandler and QueueListener the event is the same."""
    records: queue.Queue[Any] = queue.Queue()
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, OdpHandler(client=client))
    listener.start()
    logger.info("purchase of %s", "a shirt", extra=TAGGED)
    listener.stop()

    assert client.flush(5)
    assert list_events(emulator)[0]["data"]["item"] == "shirt"


def test_context_filter_passes_the_context_through_a_queue(client, emulator, logger):
    """ContextFilter copies what is bound at the log call to the record."""
    records: queue.Queue[Any] = queue.Queue()
    queueing = logging.handlers.QueueHandler(records)
    queueing.addFilter(ContextFilter())
    logger.addHandler(queueing)
    listener = logging.handlers.QueueListener(records, OdpHandler(client=client))
    bind_identifiers(email="a@example.com")
    bind_data(page="basket")
    logger.info("purchase", extra=TAGGED)
    logger.info("untagged")
    clear_identifiers()
    listener.start()
    listener.stop()

    assert client.flush(5)
    (event,) = list_events(emulator)
    assert event["identifiers"] == {"email": "a@example.com", "fs_user_id": "u1"}
    assert event["data"]["page"] == "basket"


def test_a_tagged_record_survives_pickling(client, emulator, logger):
    """A record that went through SocketHandler's pickle is still an event."""
    socket_handler = logging.handlers.SocketHandler("127.0.0.1", 1)
    record = logger.makeRecord("shop", 20, "f", 1, "purchase", (), None, extra=TAGGED)
    pickled = socket_handler.makePickle(record)[4:]
    OdpHandler(client=client).handle(logging.makeLogRecord(pickle.loads(pickled)))

    assert client.flush(5)
    assert len(list_events(emulator)) == 1


def test_events_behind_a_memory_handler_arrive_when_it_flushes(
    client, emulator, logger
):
    """Behind a MemoryHandler, events come when it flushes."""
    memory = logging.handlers.MemoryHandler(10, target=OdpHandler(client=client))
    logger.addHandler(memory)
    logger.info("purchase", extra=TAGGED)
    memory.flush()
    memory.setTarget(None)

    assert client.stats.accepted == 1


def test_the_library_does_not_capture_its_own_records(
    emulator, restore_logging, caplog
):
    """With root at DEBUG and a filter that tags everything, one record is one event."""
    root = logging.getLogger()
    handler = OdpHandler(KEY, api_host=emulator.url, flush_interval=0.01)

    def tag_everything(record: logging.LogRecord) -> bool:
        record.__dict__.update(TAGGED)
        return True

    seen = []

    def tag_and_note(record: logging.LogRecord) -> bool:
        seen.append(record.name)
        return tag_everything(record)

    class Early(logging.Handler):
        """Tags all records before the ODP handler sees them."""

        def emit(self, record: logging.LogRecord) -> None:
            tag_and_note(record)

    early = Early()
    root.addHandler(early)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("shop").info("one")
        assert handler.client.flush(5)
        requests.get(f"{emulator.url}/healthz", timeout=5)
        assert handler.client.flush(5)
    finally:
        root.removeHandler(early)

    assert any(name.startswith("urllib3") for name in seen)
    assert handler.client.stats.accepted == 1
    assert len(list_events(emulator)) == 1


def test_the_extra_of_loguru_is_read(client, emulator, logger):
    """A tag in record.extra, where loguru puts it, is found."""
    logger.addHandler(OdpHandler(client=client))
    logger.info("purchase", extra={"extra": TAGGED})
    logger.info("not tagged", extra={"extra": {"a": 1}})
    logger.info("no dict", extra={"extra": "text"})

    assert client.flush(5)
    assert len(list_events(emulator)) == 1


def test_later_changes_are_not_sent(client, emulator, logger):
    """Changes that the application makes after the log call are not in the event."""
    logger.addHandler(OdpHandler(client=client))
    identifiers, data = {"fs_user_id": "u1"}, {"items": [{"sku": "A"}], "n": 1}
    logger.info(
        "x",
        extra={"odp_action": "a", "odp_identifiers": identifiers, "odp_data": data},
    )
    identifiers["fs_user_id"] = "u2"
    data["items"][0]["sku"] = "B"
    data["n"] = 2

    assert client.flush(5)
    event = list_events(emulator)[0]
    assert event["identifiers"] == {"fs_user_id": "u1"}
    assert (event["data"]["items"], event["data"]["n"]) == ([{"sku": "A"}], 1)


def test_the_record_is_not_changed(client, logger, monkeypatch):
    """Other handlers see the record as it was logged."""
    # Handlers that other tests left alive.
    monkeypatch.setattr("odp_logging._inputs.handler.OTHER_HANDLERS", [])
    logger.addHandler(OdpHandler(client=client))
    after: list[dict[str, Any]] = []

    class Last(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            after.append(dict(record.__dict__))

    logger.addHandler(Last())
    logger.info("purchase", extra=TAGGED)

    assert {k: v for k, v in after[0].items() if "odp" in k} == TAGGED


def test_a_rejected_event_is_reported_with_file_and_line(client, logger, caplog):
    """A rejected event is counted and reported with the place of its log call."""
    logger.addHandler(OdpHandler(client=client))
    logger.info("nobody", extra={"odp_action": "viewed"})
    logger.info("purchase", extra=TAGGED)

    assert client.flush(5)
    assert client.stats.rejected == {"no_identifiers": 1}
    assert client.stats.delivered == 1
    (warning,) = [each for each in caplog.records if each.name == "odp_logging"]
    assert warning.levelname == "WARNING"
    assert f"{__file__}:" in warning.getMessage()
    assert (
        "event rejected: no identifiers in fullstack/viewed, which was not sent; pass"
        " odp_identifiers=" in warning.getMessage()
    )


class Bad:
    """Raises whenever it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError("never")


def test_nothing_is_raised_into_a_log_call(client, emulator, logger, capsys):
    """Whatever is logged, the call returns and the next event is sent."""
    logger.addHandler(OdpHandler(client=client))
    for field in TAGGED:
        logger.info("x", extra={**TAGGED, field: Bad()})
    logger.info(Bad(), extra=TAGGED)
    logger.info(Bad())
    logger.info("x", extra={"extra": Bad()})
    logger.info("purchase", extra=TAGGED)

    assert client.flush(5)
    stats = client.stats
    assert stats.accepted == 5
    assert stats.delivered + sum(stats.rejected.values()) == 5
    assert stats.delivered >= 2
    assert "Traceback" not in capsys.readouterr().err


def test_flush_level_sends_at_once(emulator, logger):
    """A record at flush_level is sent without waiting for a full batch."""
    handler = OdpHandler(
        KEY, api_host=emulator.url, flush_interval=60, flush_level="ERROR"
    )
    logger.addHandler(handler)
    logger.info("x", extra=TAGGED)
    logger.error("x", extra=TAGGED)

    assert emulator.wait_for(2, timeout=5)


def test_a_closed_handler_still_works(emulator, logger):
    """Closing delivers; a record logged later is delivered too."""
    handler = OdpHandler(KEY, api_host=emulator.url, flush_interval=60)
    logger.addHandler(handler)
    logger.info("x", extra=TAGGED)
    handler.close()
    assert len(list_events(emulator)) == 1

    logger.info("x", extra=TAGGED)
    handler.close()
    handler.close()
    assert len(list_events(emulator)) == 2


def test_a_shared_client_is_not_closed_with_the_handler(client, emulator, logger):
    """A handler flushes a client that was passed to it, and does not close it."""
    handler = OdpHandler(client=client)
    logger.addHandler(handler)
    logger.info("x", extra=TAGGED)
    handler.close()

    assert len(list_events(emulator)) == 1
    client.send_odp_event("viewed", {"vuid": "v"})
    assert client.flush(5)
    assert len(list_events(emulator)) == 2


def test_a_disabled_handler_does_nothing(emulator, logger):
    """enabled=False starts no thread and emits no warning."""
    handler = OdpHandler(enabled=False)
    logger.addHandler(handler)
    logger.info("x", extra=TAGGED)
    handler.client.identify({"a": "1", "b": "2"})

    assert handler.client.stats.accepted == 0
    assert handler.client.stats.state == "disabled"
    assert handler.client.flush(1)


def test_only_the_key_is_positional():
    """Everything but the key is a keyword, so that fileConfig's args stay readable."""
    with pytest.raises(TypeError):
        OdpHandler(KEY, "INFO")


def test_settings_next_to_a_client_are_refused(client):
    """Settings passed together with a client would have no effect."""
    with pytest.raises(ConfigurationError, match="client="):
        OdpHandler(client=client, max_batch_size=5)


def test_two_handlers_deliver_to_both(emulator, logger):
    """Two handlers with two destinations both send the record."""
    with Emulator(key="other") as other, OdpClient("other", api_host=other.url) as two:
        one = OdpHandler(KEY, api_host=emulator.url)
        logger.addHandler(one)
        logger.addHandler(OdpHandler(client=two))
        logger.info("x", extra=TAGGED)
        assert flush(5)
        assert len(list_events(emulator)) == len(list_events(other)) == 1


class Action(enum.Enum):
    BUY = "purchased"


def test_an_action_may_be_an_enum(client, emulator, logger):
    """An Enum's value is the action, in a record and in structlog's event dict."""
    logger.addHandler(OdpHandler(client=client))
    logger.info("x", extra={**TAGGED, "odp_action": Action.BUY})
    logger.info({"event": "x", **TAGGED, "odp_action": Action.BUY})

    assert client.flush(5)
    assert [each["action"] for each in list_events(emulator)] == ["purchased"] * 2


def test_identifiers_may_be_named_by_an_enum_of_text(client, emulator, logger):
    """A (str, Enum) key counts by its text; a key that is not text is counted."""

    class Name(str, enum.Enum):
        EMAIL = "email"

    logger.addHandler(OdpHandler(client=client))
    named = {Name.EMAIL: "a@example.com", 5: "x"}
    logger.info("x", extra={"odp_action": "a", "odp_identifiers": named})

    assert client.flush(5)
    assert list_events(emulator)[0]["identifiers"] == {"email": "a@example.com"}
    assert client.stats.adjusted == {"identifier": 1}


@pytest.mark.parametrize("name", ["requests.shop", "requestsy", "urllib3x", "odp"])
def test_the_applications_loggers_may_have_any_name(client, emulator, name):
    """A logger of the application with the name of a library is not ignored."""
    OdpHandler(client=client).handle(
        logging.makeLogRecord({"name": name, "levelno": 20, "msg": "x", **TAGGED})
    )

    assert client.flush(5)
    assert len(list_events(emulator)) == 1


def test_context_filter_passes_structlogs_fields_through_a_queue(
    client, emulator, logger
):
    """ContextFilter copies structlog's fields before QueueHandler formats them."""
    records: queue.Queue[Any] = queue.Queue()
    queueing = logging.handlers.QueueHandler(records)
    queueing.addFilter(ContextFilter())
    logger.addHandler(queueing)
    logger.info({"event": "x", **TAGGED})
    listener = logging.handlers.QueueListener(records, OdpHandler(client=client))
    listener.start()
    listener.stop()

    assert client.flush(5)
    assert list_events(emulator)[0]["data"]["item"] == "shirt"


class Lying(dict):
    """An event dict whose own methods cannot be used."""

    def __iter__(self) -> Any:
        raise RuntimeError("no keys")

    keys = get = __getitem__ = __contains__ = __iter__


class Unlike:
    """A key that looks like the tag, and cannot be compared with it."""

    def __hash__(self) -> int:
        return hash("odp_action")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")


@pytest.mark.parametrize("message", [Lying(TAGGED), {Unlike(): 1}, Lying({"a": 1})])
def test_context_filter_passes_hostile_messages(client, emulator, message):
    """ContextFilter lets records pass that it cannot read."""
    record = logging.makeLogRecord({"msg": message, "levelno": 20})

    assert ContextFilter().filter(record)
    OdpHandler(client=client).handle(record)
    assert client.flush(5)
    tagged = "odp_data" in record.__dict__
    assert [event["data"]["item"] for event in list_events(emulator)] == [
        "shirt"
    ] * tagged
    assert client.stats.rejected in ({}, {"not_capturable": 1})


def test_only_the_sent_part_of_a_large_action_is_kept(client):
    """A very long text is cut in the log call to what ODP keeps."""
    handler = OdpHandler(max_batch_size=1)
    large = {**TAGGED, "levelno": 20, "name": "x", "odp_action": "x" * 10**6}
    handler.handle(logging.makeLogRecord(large))
    store = handler.client._destinations.flusher.store
    store._account_incoming()
    (held,) = store._pending.waiting

    assert len(held.action) < 2000
    assert handler.client.stats.pending == 1
    handler.client._destinations.flusher.abandon("end of the test")


def test_a_shutdown_during_an_outage_waits_once(emulator, logger):
    """logging.shutdown() takes one timeout for each handler."""
    emulator.fault(latency=30)
    handler = OdpHandler(KEY, api_host=emulator.url, shutdown_timeout=0.5)
    logger.addHandler(handler)
    logger.info("x", extra=TAGGED)
    started = time.monotonic()
    logging.shutdown([lambda: handler])

    assert time.monotonic() - started < 1.0
    handler.client._destinations.flusher.abandon("end of the test")


def test_a_handler_with_invalid_settings_is_not_registered():
    """logging does not flush a handler whose constructor raised."""
    with pytest.raises(ConfigurationError):
        OdpHandler(flush_intervall=1)

    held = [reference() for reference in logging._handlerList]  # type: ignore[attr-defined]
    assert all(hasattr(each, "client") for each in held if type(each) is OdpHandler)
