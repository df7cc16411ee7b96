"""Personal data in events: hidden from other handlers, hashed, redacted."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import hmac
import io
import json
import logging
import logging.config
import logging.handlers
import os
import pickle
import pprint
import queue
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from odp_logging import (
    ConfigurationError,
    ContextFilter,
    HideOdpFields,
    OdpClient,
    OdpEvent,
    OdpHandler,
    OdpProcessor,
    bound_data,
    bound_identifiers,
)
from odp_logging.emulator import Emulator

from ..conftest import KEY

EMAIL = "Ada@Example.com"
CARD = "4111-1111-1111-1111"
DIGEST = hashlib.sha256(b"ada@example.com").hexdigest()
SALT = "a-pepper-that-nobody-may-see"
SALTED = hmac.new(SALT.encode(), b"ada@example.com", "sha256").hexdigest()

TAGGED: dict[str, Any] = {
    "odp_action": "purchased",
    "odp_type": "order",
    "odp_identifiers": {"email": EMAIL},
    "odp_data": {"note": "hidden"},
    "odp_timestamp": 1.7e9,
    "odp_idempotence_id": "order-7",
}


def make(emulator: Emulator, **settings: Any) -> OdpClient:
    """Return a client that sends to *emulator*."""
    return OdpClient(KEY, api_host=emulator.url, handle_sigterm=False, **settings)


def handler_to(emulator: Emulator, **settings: Any) -> OdpHandler:
    """Return a handler that sends to *emulator*."""
    return OdpHandler(KEY, api_host=emulator.url, handle_sigterm=False, **settings)


def who(emulator: Emulator) -> list[dict[str, str]]:
    """Return the identifiers of all events that arrived."""
    return [each["event"]["identifiers"] for each in emulator.events()]


def data(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the data of all events that arrived."""
    return [each["event"]["data"] for each in emulator.events()]


class Everything(logging.Handler):
    """Prints all that a record has, but for names with an underscore in front."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        shown = {k: v for k, v in vars(record).items() if not k.startswith("_")}
        self.seen.append(repr(shown))


# HideOdpFields.


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_fields_are_hidden_in_any_order(emulator, logger, first):
    """A handler with the filter sees no field, and the OdpHandler sends the event."""
    ours, theirs = handler_to(emulator), Everything()
    theirs.addFilter(HideOdpFields())
    for handler in [ours, theirs] if first == "ours" else [theirs, ours]:
        logger.addHandler(handler)
    logger.info("bought", extra={**TAGGED, "shop": "x"})

    assert ours.client.flush(10)
    (event,) = emulator.events()
    assert event["event"]["identifiers"] == {"email": EMAIL}
    assert event["event"]["type"] == "order"
    assert event["event"]["data"]["note"] == "hidden"
    assert event["event"]["data"]["ts"] == 1_700_000_000
    assert event["event"]["data"]["idempotence_id"] == "order-7"
    assert "'shop': 'x'" in theirs.seen[0]
    assert EMAIL not in theirs.seen[0] and "'odp_" not in theirs.seen[0]


@pytest.mark.parametrize("on", ["logger", "our handler"])
def test_one_filter_serves_all_later_handlers(emulator, logger, on):
    """On the logger, or on the OdpHandler in front of the others."""
    ours, theirs = handler_to(emulator), Everything()
    logger.addHandler(ours)
    logger.addHandler(theirs)
    (logger if on == "logger" else ours).addFilter(HideOdpFields())
    logger.info("bought", extra=TAGGED)

    assert ours.client.flush(10)
    assert who(emulator) == [{"email": EMAIL}]
    assert "'odp_" not in theirs.seen[0]


def test_dict_config_builds_the_filter(emulator):
    """A dictConfig names the filter once, and handlers by it."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"hide": {"()": "odp_logging.HideOdpFields"}},
            "handlers": {
                "theirs": {"()": f"{__name__}.Everything", "filters": ["hide"]},
                "odp": {
                    "class": "odp_logging.OdpHandler",
                    "api_key": KEY,
                    "api_host": emulator.url,
                    "handle_sigterm": False,
                },
            },
            "loggers": {"shop.dicts": {"level": "INFO", "handlers": ["theirs", "odp"]}},
        }
    )
    logger = logging.getLogger("shop.dicts")
    theirs, ours = logger.handlers
    logger.info("bought", extra=TAGGED)
    logger.handlers.clear()
    ours.close()

    assert who(emulator) == [{"email": EMAIL}]
    assert "'odp_" not in theirs.seen[0]


def test_hidden_fields_are_read_by_every_odp_handler(emulator, logger):
    """Two handlers for two accounts each send the event."""
    logger.addFilter(HideOdpFields())
    with Emulator(key=KEY) as other:
        handlers = [handler_to(emulator), handler_to(other)]
        for each in handlers:
            logger.addHandler(each)
        logger.info("bought", extra=TAGGED)
        logger.info("nothing")

        assert all([each.client.flush(10) for each in handlers])
        assert (len(emulator.events()), len(other.events())) == (1, 1)


@pytest.mark.parametrize("by", ["logger", "queue handler"])
def test_hidden_fields_pass_a_queue_of_this_process(emulator, logger, by):
    """A real QueueHandler passes on fields and context, and shows neither."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ours, theirs = handler_to(emulator), Everything()
    queued = logging.handlers.QueueHandler(waiting)
    listener = logging.handlers.QueueListener(waiting, theirs, ours)
    logger.addHandler(queued)
    filtering = logger if by == "logger" else queued
    filtering.addFilter(HideOdpFields())
    filtering.addFilter(ContextFilter())
    listener.start()
    with bound_identifiers(fs_user_id="u-bound"):
        logger.info("bought", extra=TAGGED)
    listener.stop()

    assert ours.client.flush(10)
    assert who(emulator) == [{"fs_user_id": "u-bound", "email": EMAIL}]
    assert "'odp_" not in theirs.seen[0]


def test_a_pickled_record_has_no_hidden_fields(emulator, logger, caplog):
    """The pickle contains none of them, and a warning says so."""
    logger.addFilter(HideOdpFields())
    record = logger.makeRecord(logger.name, 20, "f", 1, "m", (), None, extra=TAGGED)
    assert logger.filter(record)
    ours = handler_to(emulator)

    assert EMAIL.encode() not in pickle.dumps(record)
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith("a record with hidden odp_* fields was pickled")
    pickled = pickle.loads(pickle.dumps(record))
    assert pickled._odp == "" and type(pickled._odp) is str
    ours.handle(pickled)
    ours.handle(record)
    assert ours.client.close(10)
    assert who(emulator) == [{"email": EMAIL}]
    assert len(caplog.records) == 1


def test_pickling_a_captured_record_does_not_warn(emulator, logger, caplog):
    """An OdpHandler in front of the pickling handler has the event already."""
    ours = handler_to(emulator)
    logger.addFilter(HideOdpFields())
    logger.addHandler(ours)
    records: list[logging.LogRecord] = []
    logger.addFilter(lambda record: records.append(record) or True)
    logger.info("bought", extra=TAGGED)

    assert EMAIL.encode() not in pickle.dumps(records[0])
    assert ours.client.close(10)
    assert [each for each in caplog.records if each.name == "odp_logging"] == []


def test_the_copied_context_is_pickled(emulator, logger):
    """A ContextFilter serves a listener elsewhere; formatters here show nothing."""
    ours = handler_to(emulator)
    logger.addFilter(ContextFilter())
    with bound_identifiers(fs_user_id="u-bound"):
        record = logger.makeRecord(logger.name, 20, "f", 1, "m", (), None, extra=TAGGED)
        assert logger.filter(record)
    assert "u-bound" not in repr(vars(record))
    pickled = pickle.loads(pickle.dumps(record))
    assert b"odp_logging" not in pickle.dumps(vars(record))
    assert HideOdpFields().filter(pickled)
    assert "u-bound" not in repr(vars(pickled))
    ours.handle(pickled)

    assert ours.client.close(10)
    assert who(emulator) == [{"fs_user_id": "u-bound", "email": EMAIL}]


def repr_of(value: Any) -> str:
    """Return what a formatter makes of a value that it does not know."""
    return repr(value)


@pytest.mark.parametrize(
    "write",
    [
        repr,
        str,
        json.dumps,
        lambda value: json.dumps({"value": value}, default=repr_of),
        lambda value: msgspec.json.encode({"value": value}, enc_hook=repr_of).decode(),
        lambda value: f"{value} {value!r} {value!s}",
        lambda value: pickle.dumps(value).decode("latin-1"),
        lambda value: json.dumps(vars(value) if hasattr(value, "__dict__") else ""),
        lambda value: repr((value.lower(), list(value), copy.copy(value))),
        lambda value: pprint.pformat([value, copy.deepcopy(value)]),
    ],
)
def test_a_carrier_is_written_as_an_empty_text(write):
    """Whatever writes an attribute that it does not know writes nothing of it."""
    record = logging.makeLogRecord({"odp_identifiers": {"email": EMAIL}})
    assert HideOdpFields().filter(record)

    assert EMAIL not in write(vars(record)["_odp"])


def formatting(make: Any) -> tuple[logging.Handler, Any]:
    """Return a handler with the formatter that *make* returns, and what it wrote."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(make())
    return handler, out.getvalue


def exporting() -> tuple[logging.Handler, Any]:
    """Return OpenTelemetry's handler, and what it exported."""
    logs = pytest.importorskip("opentelemetry.sdk._logs")
    export = pytest.importorskip("opentelemetry.sdk._logs.export")
    if not hasattr(logs, "LoggingHandler"):
        pytest.skip("the handler has moved to opentelemetry-instrumentation-logging")
    memory, provider = export.InMemoryLogExporter(), logs.LoggerProvider()
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(memory))
    return logs.LoggingHandler(logger_provider=provider), lambda: "".join(
        repr(vars(each.log_record)) for each in memory.get_finished_logs()
    )


PRINTING = {
    "pythonjsonlogger.json": "JsonFormatter",
    "ecs_logging": "StdlibFormatter",
    "json_log_formatter": "JSONFormatter",
    "logfmter": "Logfmter",
    "logstash_async.formatter": "LogstashFormatter",
    "opentelemetry.sdk._logs": "",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("module", PRINTING)
@pytest.mark.parametrize("bound", [False, True])
def test_libraries_that_copy_unknown_attributes_show_no_value(
    emulator, logger, module, bound
):
    """Each real formatter prints the other extra fields, and no value of ours."""
    library = pytest.importorskip(module)
    name = PRINTING[module]
    theirs, shown = formatting(getattr(library, name)) if name else exporting()
    ours = handler_to(emulator)
    theirs.addFilter(HideOdpFields())
    if bound:
        theirs.addFilter(ContextFilter())
    logger.addHandler(theirs)
    logger.addHandler(ours)
    with bound_identifiers(fs_user_id="u-bound"):
        logger.info("bought", extra={**TAGGED, "order": "o-5"})

    assert ours.client.close(10)
    assert who(emulator) == [{"fs_user_id": "u-bound", "email": EMAIL}]
    assert "o-5" in shown()
    assert EMAIL not in shown() and "u-bound" not in shown()


def test_identifiers_without_the_tag_are_hidden_as_well(logger):
    """A record without an action may have identifiers too."""
    theirs = Everything()
    theirs.addFilter(HideOdpFields())
    logger.addHandler(theirs)
    logger.info("seen", extra={"odp_identifiers": {"email": EMAIL}})
    logger.info("seen", extra={"odp_data": {"email": EMAIL}, "_odp": 5})

    assert EMAIL not in "".join(theirs.seen)


def test_dicts_of_structlog_and_loguru_are_hidden(emulator):
    """An event dict in the message, and loguru's extra, lose their fields in a copy."""
    ours = handler_to(emulator)
    inside = {"event": "bought", "n": 1, **TAGGED, "odp_idempotence_id": None}
    bound = {"n": 1, **TAGGED, "odp_idempotence_id": None}
    before = copy.deepcopy((inside, bound))
    for fields in ({"msg": inside}, {"msg": "m", "extra": bound}):
        record = logging.makeLogRecord({"name": "shop", **fields})
        assert HideOdpFields().filter(record)
        assert "'odp_" not in repr((record.msg, vars(record).get("extra")))
        assert "'n': 1" in repr((record.msg, vars(record).get("extra")))
        assert HideOdpFields().filter(record)
        ours.handle(record)

    assert ours.client.flush(10)
    assert who(emulator) == [{"email": EMAIL}] * 2
    assert (inside, bound) == before


@pytest.mark.parametrize("handled", [False, True])
def test_a_processor_in_the_formatter_reads_hidden_fields(emulator, logger, handled):
    """The event is sent once, with and without an OdpHandler."""
    client = make(emulator)
    logger.addFilter(HideOdpFields())
    out = io.StringIO()
    printing = logging.StreamHandler(out)
    printing.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                OdpProcessor(client),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ]
        )
    )
    if handled:
        logger.addHandler(OdpHandler(client=client))
    logger.addHandler(printing)
    wrap = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
    log = structlog.wrap_logger(logger, processors=[wrap])
    log.info("bought", **TAGGED)

    assert client.close(10)
    assert who(emulator) == [{"email": EMAIL}]
    assert json.loads(out.getvalue()) == {"event": "bought"}


def test_a_failing_filter_raises_nothing(monkeypatch, logger):
    """A record whose fields cannot be hidden is not printed."""

    class Odd(logging.LogRecord):
        @property
        def __dict__(self) -> Any:
            raise RuntimeError

    assert HideOdpFields().filter(Odd("n", 20, "p", 1, "m", (), None)) is False


def test_python_json_logger_prints_no_fields(emulator, logger):
    """The real python-json-logger prints what is in extra, and none of our fields."""
    json_logger = pytest.importorskip("pythonjsonlogger.json")
    out = io.StringIO()
    printing = logging.StreamHandler(out)
    printing.setFormatter(json_logger.JsonFormatter())
    ours = handler_to(emulator)
    logger.addHandler(printing)
    logger.addHandler(ours)
    logger.info("bought", extra={**TAGGED, "shop": "x"})
    assert EMAIL in out.getvalue()

    out.truncate(0)
    out.seek(0)
    printing.addFilter(HideOdpFields())
    logger.info("bought", extra={**TAGGED, "odp_idempotence_id": "2", "shop": "x"})
    assert json.loads(out.getvalue()) == {"message": "bought", "shop": "x"}
    assert ours.client.flush(10)
    assert len(emulator.events()) == 2


SENTRY = """
import logging, sys
import sentry_sdk
from sentry_sdk.transport import Transport
from odp_logging import HideOdpFields, OdpHandler

kept = []

class Collecting(Transport):
    def capture_envelope(self, envelope):
        kept.append(envelope.serialize().decode())

sentry_sdk.init(dsn="https://key@127.0.0.1/1", transport=Collecting)
handler = OdpHandler()
logging.getLogger().addHandler(handler)
if sys.argv[1] == "hidden":
    handler.addFilter(HideOdpFields())
shop = logging.getLogger("shop")
shop.setLevel(logging.INFO)
extra = {"odp_action": "bought", "odp_identifiers": {"email": "ada@example.com"}}
shop.info("a breadcrumb", extra={**extra, "shop": "x"})
shop.error("an event", extra={**extra, "shop": "x"})
sentry_sdk.flush()
assert handler.client.flush(10)
text = "".join(kept)
assert "a breadcrumb" in text and "an event" in text
print("ada@example.com" in text, "odp_" in text)
"""


@pytest.mark.parametrize("hidden", [False, True])
def test_sentry_copies_no_fields(emulator, hidden):
    """The real sentry-sdk runs after all handlers and sees no hidden field."""
    pytest.importorskip("sentry_sdk")
    done = subprocess.run(
        [sys.executable, "-c", SENTRY, "hidden" if hidden else "plain"],
        env={**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"] if hidden else ["True", "True"]
    assert who(emulator) == [{"email": "ada@example.com"}] * 2


# Hashed identifiers.


def test_identifiers_are_hashed_wherever_they_come_from(emulator, logger):
    """Handler, processor, client, context and defaults give the same hash."""
    client = make(
        emulator,
        hash_identifiers=["email", "fs-user-id"],
        default_identifiers={"fs_user_id": " U1 "},
    )
    logger.addHandler(OdpHandler(client=client))
    logger.info("a", extra={"odp_action": "a", "odp_identifiers": {"email": EMAIL}})
    with bound_identifiers(email=f"  {EMAIL} "):
        logger.info("b", extra={"odp_action": "b"})
    OdpProcessor(client)(
        None, "info", {"odp_action": "c", "odp_identifiers": {"email": EMAIL}}
    )
    client.send_odp_event("d", {"email": EMAIL.lower()})
    client.send(OdpEvent("e", {"email": EMAIL, "FS-USER-ID": "u1"}))
    client.identify({"email": EMAIL, "vuid": "v"})

    assert client.close(10)
    one = hashlib.sha256(b"u1").hexdigest()
    expected = {"fs_user_id": one, "email": DIGEST}
    assert who(emulator)[:5] == [expected] * 5
    assert who(emulator)[5] == {**expected, "vuid": "v"}


def test_other_identifiers_and_data_are_not_hashed(emulator):
    """Empty identifiers stay empty."""
    client = make(emulator, hash_identifiers="email")
    client.send_odp_event("a", {"vuid": "v", "email": ""}, data={"email": EMAIL})
    client.send_odp_event("b", {"email": " "})
    client.send_odp_event("c", 5)  # type: ignore[arg-type]
    client.send_odp_event("d", {"email": "\ud800"})

    assert client.close(10)
    assert who(emulator) == [{"vuid": "v"}]
    assert data(emulator)[0]["email"] == EMAIL
    assert client.stats.rejected == {"no_identifiers": 2, "bad_identifiers": 1}


@pytest.mark.parametrize("rejecting", [True, False])
def test_a_placeholder_is_not_hashed(emulator, caplog, rejecting):
    """The hash of "None" would be as common as the text, and not be known for it."""
    client = make(emulator, hash_identifiers=["email"], reject_placeholders=rejecting)
    client.send_odp_event("a", {"email": "None", "vuid": "v"})
    client.send(OdpEvent("b", {"email": "null", "vuid": "v"}))

    assert client.close(10)
    sent = [{"vuid": "v"}] * 2
    if not rejecting:
        sent = [{"email": "None", "vuid": "v"}, {"email": "null", "vuid": "v"}]
    assert who(emulator) == sent
    assert "one" in caplog.text or "ull" in caplog.text


@pytest.mark.parametrize("names", [[], ["email"]])
def test_adjustments_are_counted_with_and_without_hashes(emulator, names):
    """Values left out or cut are in the stats, hashed identifiers or not."""
    client = make(emulator, hash_identifiers=names)
    client.send_odp_event("a", {"email": EMAIL, "size": 1.5})
    event = OdpEvent("b", {"email": EMAIL, "size": 1.5}, data={"text": "x" * 2000})
    client.send(event)

    assert client.flush(10)
    assert client.stats.adjusted == {"identifier": 2, "cut": 1}


def test_a_salt_changes_the_hash_and_stays_secret(emulator, monkeypatch):
    """With hash_salt it is an HMAC; no repr shows the salt, no pickle carries it."""
    client = make(emulator, hash_identifiers=["email"], hash_salt=SALT)
    client.send_odp_event("a", {"email": EMAIL})
    assert client.close(10)
    assert who(emulator) == [{"email": SALTED}]
    assert SALT not in repr(client._config) + repr(vars(client))

    pickled = pickle.dumps(client)
    assert SALT.encode() not in pickled
    with pytest.raises(ConfigurationError, match="ODP_HASH_SALT}, which is not set"):
        pickle.loads(pickled)
    monkeypatch.setenv("ODP_HASH_SALT", SALT)
    assert pickle.loads(pickled)._config.hash_salt == client._config.hash_salt


@pytest.mark.parametrize("given", ["", "  ", 5])
def test_an_invalid_salt_raises_and_is_not_shown(given, monkeypatch):
    """In the environment too, since the default would give another hash."""
    with pytest.raises(ConfigurationError, match="hash_salt cannot be used: expected"):
        OdpClient(hash_salt=given)
    monkeypatch.setenv("ODP_HASH_SALT", "   ")
    with pytest.raises(ConfigurationError, match="ODP_HASH_SALT cannot be used"):
        OdpClient()


def test_hashing_keeps_the_fast_path(emulator):
    """Hashing runs on the flusher's thread, not in the log call."""
    client = make(emulator, hash_identifiers=["email"])

    assert client._router.inbox is client._destinations.flusher.inbox


def test_callbacks_and_before_send_see_hashes_only(emulator):
    """What comes to before_send, on_delivery and on_drop is hashed already, once."""
    seen: list[OdpEvent] = []

    def before_send(event: OdpEvent) -> OdpEvent:
        seen.append(event)
        if event.action == "adds":
            return OdpEvent("adds", {**event.identifiers, "phone": "+49 1"})
        return event

    emulator.fault(events=[1], count=1, status=400)
    client = make(
        emulator,
        hash_identifiers=["email", "phone"],
        before_send=before_send,
        on_delivery=seen.extend,
        on_drop=lambda events, reason: seen.extend(events),
    )
    client.send_odp_event("adds", {"email": EMAIL})
    client.send_odp_event("refused", {"email": EMAIL})

    assert client.close(10)
    assert {each.identifiers["email"] for each in seen} == {DIGEST}
    phone = hashlib.sha256(b"+49 1").hexdigest()
    assert {"email": DIGEST, "phone": phone} in who(emulator)
    assert {"email": DIGEST} in who(emulator)
    assert client.stats.rejected == {"refused": 1}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_hash_under_another_name_is_not_hashed_again(emulator, keeps):
    """before_send may copy a hashed identifier to another hashed name."""

    def move(event: OdpEvent) -> OdpEvent:
        named = dict(event.identifiers)
        named["fs_user_id"] = named["email"] if keeps else named.pop("email")
        return dataclasses.replace(event, identifiers=named)

    client = make(emulator, hash_identifiers=["email", "fs_user_id"], before_send=move)
    client.send_odp_event("a", {"email": EMAIL})

    assert client.flush(10)
    kept = {"email": DIGEST} if keeps else {}
    assert who(emulator) == [{**kept, "fs_user_id": DIGEST}]


def test_dropped_events_are_private(emulator):
    """on_drop gets events in the form in which they would have been sent."""
    emulator.fault(status=503)
    dropped: list[OdpEvent] = []
    client = make(
        emulator,
        hash_identifiers=["email"],
        redact=["card"],
        max_queue_size=1,
        shutdown_timeout=0.1,
        on_drop=lambda events, reason: dropped.extend(events),
    )
    for _ in range(5):
        client.send(OdpEvent("made", {"email": EMAIL}, data={"card": CARD}))
        client.send_odp_event("logged", {"email": EMAIL}, data={"card": CARD})
    client.close(0.1)
    emulator.clear_faults()

    assert client.close(10)
    assert {each.action for each in dropped} == {"made", "logged"}
    assert {each.identifiers["email"] for each in dropped} == {DIGEST}
    assert {each.data["card"] for each in dropped} == {"[redacted]"}


def read_spool(folder: Path) -> bytes:
    """Return all bytes of spool files that a process is still working on."""
    for _ in range(100):
        try:
            return b"".join(path.read_bytes() for path in folder.rglob("*.spool*"))
        except FileNotFoundError:  # removed since it was listed
            continue
    raise AssertionError("the files never stay")


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_files_on_disk_hold_no_personal_data(emulator, tmp_path, durability):
    """Events, dead letters and the write-ahead log hold hashes and redacted data."""
    emulator.fault(events=[0], count=1, status=400)
    client = make(
        emulator,
        spool=tmp_path / "spool",
        durability=durability,
        hash_identifiers=["email"],
        redact=["card"],
    )
    client.send_odp_event("dead", {"email": EMAIL}, data={"list": [{"card": CARD}]})
    assert client.flush(10)
    emulator.fault(status=503)
    client.send_odp_event("waits", {"email": EMAIL}, data={"card": CARD})
    client.close(0.3)
    found = read_spool(tmp_path)
    emulator.clear_faults()

    assert found.count(DIGEST.encode()) >= 1
    assert b"[redacted]" in found
    assert EMAIL.encode() not in found and CARD.encode() not in found
    assert client.close(10)


# redact.


def test_redact_applies_to_bound_data_and_before_send(emulator):
    """Bound data is redacted, and so is what before_send puts back."""

    def before_send(event: OdpEvent) -> OdpEvent:
        return OdpEvent(event.action, event.identifiers, data={"card": CARD, "n": 1})

    client = make(emulator, redact=["card"])
    with bound_data(shop={"card": CARD}):
        client.send_odp_event("bound", {"vuid": "v"})
    assert client.close(10)
    client = make(emulator, redact=["card"], before_send=before_send)
    client.send_odp_event("put back", {"vuid": "v"})

    assert client.close(10)
    first, second = data(emulator)
    assert first["shop"] == {"card": "[redacted]"}
    assert (second["card"], second["n"]) == ("[redacted]", 1)


def test_redact_applies_to_data_and_not_to_identifiers(emulator):
    """Without the identifier of that name, the event could not be sent."""
    client = make(emulator, redact=["email"])
    client.send_odp_event("a", {"email": EMAIL}, data={"email": EMAIL})

    assert client.close(10)
    assert who(emulator) == [{"email": EMAIL}]
    assert data(emulator)[0]["email"] == "[redacted]"


def test_configuration_and_stats_show_no_values(emulator):
    """Default identifiers and data are only counted in reprs."""
    client = make(
        emulator, default_identifiers={"email": EMAIL}, default_data={"card": CARD}
    )
    client.send_odp_event("a", {})
    assert client.close(10)

    shown = repr(client._config) + repr(client.stats) + repr(client)
    assert EMAIL not in shown and CARD not in shown
    assert "default_identifiers=<1>" in shown
