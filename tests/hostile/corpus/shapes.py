"""Records that are hostile themselves: their message, their attributes, their keys."""

from __future__ import annotations

import logging
from typing import Any

from .expected import Fields, Ignored, Outcome, Record, Rejected, Sent, fields
from .hostile import (
    Armed,
    Closed,
    Dict,
    KeyText,
    Map,
    Text,
    armed,
    nameless,
    raising,
    saying,
)

IGNORED = Ignored()
UNREAD = Rejected("not_capturable")


def _extra(name: str, outcome: Outcome, **more: Any) -> Record:
    """Return a record whose ``extra`` holds *more* than its fields."""
    return Record(name, lambda: {**fields(), **more}, outcome)


def _wire(name: str, outcome: Outcome, make: Any) -> Record:
    """Return a record as it may come off a wire, with attributes of any kind."""

    return Record(name, lambda: {**fields(), **make()}, outcome, log=_handle)


def _handle(logger: logging.Logger, made: Fields) -> None:
    record = logging.makeLogRecord({})
    # Not update(): CPython 3.14 compares keys there that have the same hash.
    record.__dict__ = {**record.__dict__, **made}
    logger.handlers[0].handle(record)


def _message(name: str, outcome: Outcome, make: Any) -> Record:
    """Return a record whose fields are its message, as structlog's are."""

    def log(logger: logging.Logger, made: Fields) -> None:
        logger.info(made["message"])

    return Record(name, lambda: {"message": make()}, outcome, log=log)


def _called(name: str, *arguments: Any, **named: Any) -> Record:
    """Return a good record whose log call is hostile."""

    def log(logger: logging.Logger, made: Fields) -> None:
        logger.error(*arguments, extra=made, **named)

    return Record(name, fields, Sent(), log=log)


def _raw_keys() -> Fields:
    return {**fields(), 5: "five", None: None, ("a",): 1, Armed(): 2}


def _like_the_tag() -> Fields:
    key = Armed("odp_action")
    made = {key: 1}
    key.armed = True
    return made


def _tagged(kind: Any = dict, **more: Any) -> Any:
    return kind({**fields(), "event": "hostile", **more})


EXTRAS = [
    Record("no tag", lambda: {"odp_identifiers": {"a": "b"}}, IGNORED),
    Record("tag in capitals", lambda: {"ODP_ACTION": "viewed"}, IGNORED),
    Record("tag as bytes", lambda: {b"odp_action": "viewed"}, IGNORED),
    Record("empty extra", dict, IGNORED),
    Record(
        "only the tag", lambda: {"odp_action": "viewed"}, Rejected("no_identifiers")
    ),
    Record("keys that are no text", _raw_keys, Sent()),
    Record(
        "tag that is a liar",
        lambda: {KeyText(name): each for name, each in fields().items()},
        Sent(),
    ),
    _extra("unknown odp fields", Sent(), odp_nonsense=Closed(), odp_=1),
    _extra("extra closed", Sent(), extra=Closed(), other=Closed()),
    _extra("extra nameless", Sent(), extra=nameless()),
    _extra("extra lying", Sent(), extra=Dict(odp_action="other")),
]

CALLS = [
    _called("arguments that do not fit", "%d %s", "text"),
    _called("message that raises", raising("__str__")()),
    _called("message closed", Closed()),
    _called("message none", None),
    _called("message lying", Text("%s")),
    _called("argument closed", "%s %s", Closed(), 1),
    _called("exception of nothing", "failed", exc_info=True),
    _called(
        "exception that raises", "failed", exc_info=raising("__str__", base=Exception)()
    ),
    _called("stack", "failed", stack_info=True),
]

MESSAGES = [
    _message("structlog's dict", Sent(), _tagged),
    _message("structlog's dict lying", Sent(), lambda: _tagged(Dict)),
    _message("lying dict without a tag", IGNORED, lambda: Dict(a=1)),
    _message("armed dict", IGNORED, armed),
    _message("dict like the tag", UNREAD, _like_the_tag),
    _message("mapping", IGNORED, lambda: Map(fields(), fields().get)),
    _message("loguru's dict in a list", IGNORED, lambda: [fields()]),
    _message(
        "structlog's dict of nobody",
        Rejected("bad_identifiers"),
        lambda: _tagged(odp_identifiers=Closed()),
    ),
    _message(
        "lying dict with a hostile action",
        Rejected("bad_action"),
        lambda: _tagged(Dict, odp_action=Closed()),
    ),
    Record(
        "loguru's extra, lying",
        lambda: {"extra": Dict(fields())},
        Sent(),
        log=lambda logger, made: logger.info("hostile", extra=made),
    ),
]

WIRE = [
    _wire("armed key", Sent(), armed),
    Record("only an armed key", armed, IGNORED, log=_handle),
    Record("key like the tag", _like_the_tag, UNREAD, log=_handle),
    _wire("path closed", Sent(), lambda: {"pathname": Closed(), "lineno": Closed()}),
    _wire(
        "path closed and nobody",
        Rejected("no_identifiers"),
        lambda: {"pathname": Closed(), "odp_identifiers": {}},
    ),
    _wire("path a liar", Sent(), lambda: {"pathname": Text("shop.py")}),
    _wire("level closed", Sent(), lambda: {"levelno": Closed()}),
    _wire("name closed", Sent(), lambda: {"name": Closed()}),
    _wire("name none", Sent(), lambda: {"name": None}),
    _wire("created text", Sent(ts=5), lambda: {"created": "5"}),
    _wire("created in whole seconds", Sent(ts=5), lambda: {"created": 5}),
    _wire("context nonsense", UNREAD, lambda: {"_odp_bound": 5}),
    _wire("context closed", UNREAD, lambda: {"_odp_bound": (Closed(), ())}),
    _wire("message closed, off the wire", Sent(), lambda: {"msg": Closed()}),
    _wire(
        "said by itself", Rejected("bad_action"), lambda: {"odp_action": saying("x")}
    ),
]

RECORDS = [*EXTRAS, *CALLS, *MESSAGES, *WIRE]
