"""What is fuzzed, and what holds of it whatever it is given."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from odp_logging import ConfigurationError, InvalidEventError, OdpEvent
from odp_logging._capture.build import Builder
from odp_logging._capture.capture import Capture, capture
from odp_logging._cli import send as _sending
from odp_logging._cli.errors import CommandError, UsageError
from odp_logging._cli.event_view import build_letter_view
from odp_logging._cli.main import _print_error
from odp_logging._cli.parser import build_parser
from odp_logging._cli.spool import show_status
from odp_logging._config import parsers
from odp_logging._config.datafile import Integration, read_datafile
from odp_logging._config.load import load
from odp_logging._config.settings import SETTINGS, Config
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._events.event import parse_event
from odp_logging._events.lazy_event import make_lazy_event as read_stored
from odp_logging._events.masking import MASK, TextMasker
from odp_logging._events.normalize import Unsupported
from odp_logging._events.rules import MAX_TEXT, MAX_VALUES
from odp_logging._events.timestamps import normalize_iso
from odp_logging._runtime.secret import Secret
from odp_logging._stores.spool.errors import SpoolError
from odp_logging._stores.spool.reader import SpoolReader
from odp_logging._transports.http import PATH
from odp_logging._transports.request_state import RequestState
from odp_logging._transports.responses import parse_retry_after, read_response
from odp_logging._transports.session import HttpSession, _HttpConnection
from odp_logging.emulator._access import Access
from odp_logging.emulator._api import EventsApi
from odp_logging.emulator._faults import Faults
from odp_logging.emulator._http import Handler
from odp_logging.emulator._ledger import Ledger
from odp_logging.emulator._routes import route
from odp_logging.emulator._server import Server

from ...stores.contract import balanced
from ...stores.contract import event as numbered
from ...stores.spool.spools import drain, make_spool
from .decode import Reader

TIME = 1.7e9
KEY = "W4WzcEs-ABgXorzY7h1LCQ"
NOW = 784111777.0

_FIELDS = {
    "a": "odp_action",
    "i": "odp_identifiers",
    "y": "odp_type",
    "d": "odp_data",
    "t": "odp_timestamp",
    "k": "odp_idempotence_id",
    "I": "identifiers",
    "D": "data",
    "B": "bound",
    "r": "redact",
}
_STATUSES = (200, 202, 204, 302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 503)


def mapping(data: bytes) -> None:
    """Whatever is logged becomes an event or a reason, and nothing of it lasts."""
    fields = _read(Reader(data))
    redact = frozenset(map(str, _texts(fields.pop("redact", ()))))
    named = fields.pop("identifiers", None)
    more = fields.pop("data", None)
    defaults: dict[str, Any] = {
        "default_identifiers": named if type(named) is dict else {},
        "default_data": more if type(more) is dict else {},
        "redact": redact,
    }
    bound = ((), (_frozen(fields.pop("bound", None)),))
    logged = capture(
        fields, time=TIME, origin=("shop.py", 5), bound=bound, redact=redact
    )
    _lasts(logged)
    try:
        event = Builder(**defaults)(logged)
    except InvalidEventError as error:
        assert error.reason and str(error).isprintable()
        return
    assert event is not None
    check(event)
    again = Builder(**defaults)(logged)
    assert again is not None and _without_id(again) == _without_id(event)
    assert logged.size >= 0


def event(data: bytes) -> None:
    """OdpEvent refuses, or is an event that ODP takes."""
    fields = _read(Reader(data))
    try:
        made = OdpEvent(
            fields.get("odp_action", "viewed"),
            fields.get("odp_identifiers", {"fs_user_id": "u1"}),
            fields.get("odp_type"),
            fields.get("odp_data"),
            timestamp=fields.get("odp_timestamp"),
            idempotence_id=fields.get("odp_idempotence_id"),
        )
    except InvalidEventError as error:
        assert error.reason and str(error)
    else:
        check(made)


def answer(data: bytes) -> None:
    """Every answer accepts, rejects or leaves pending each event of the batch."""
    reader = Reader(data)
    status, size = abs(reader.number(999)), abs(reader.number(600)) or 1
    status = status if status >= 100 else _STATUSES[status % len(_STATUSES)]
    headers = {"Retry-After": reader.text(), "Content-Type": reader.text()}
    headers = {name: text for name, text in headers.items() if text}
    content: bytes | None = reader.rest()
    made = read_response(
        status, headers, None if content == b"-" else content, size, "https://odp.test"
    )
    partitions(made, size)
    assert (status // 100 == 2) or not made.accepted
    waits = parse_retry_after(headers.get("Retry-After"), NOW)
    assert 0.0 <= waits < math.inf
    assert not made.retry_after or headers.get("Retry-After")


def partitions(made: Delivery, size: int) -> None:
    """Assert that *made* says one thing of each event."""
    assert type(made) is Delivery and made.size == size
    told = [*made.accepted, *made.rejected, *made.pending]
    assert sorted(told) == list(range(size))
    assert made.in_doubt <= set(made.pending)
    assert made.cause is None if not made.pending else type(made.cause) is Cause
    assert 0.0 <= made.retry_after < math.inf
    for line in (made.message, *made.rejected.values()):
        assert line.isprintable() and len(line) <= 300
    assert all(made.rejected.values())


_EXTENDED = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d(:\d\d)?)?)?",
    re.ASCII,
)


def timestamp(data: bytes) -> None:
    """A time is whole seconds or one form of ISO-8601, or it is counted."""
    text = data.decode("utf-8", "surrogateescape")
    made = OdpEvent("viewed", {"fs_user_id": "u1"}, timestamp=text)
    check(made)
    read = made.data.get("ts")
    assert made.adjusted.get("timestamp", 0) == (read is None)
    if type(read) is not str:
        assert read is None or (type(read) is int and abs(read) <= 1e11)
        return
    assert _EXTENDED.fullmatch(read) and normalize_iso(read) == read
    if sys.version_info >= (3, 11):
        assert _moment(text.strip().replace("z", "Z")) in (None, _moment(read))


def _moment(text: str) -> datetime | None:
    """Return what Python reads, in UTC if that is known; None if it reads nothing."""
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is None else found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


_IMPORTING = {"before_send", "on_delivery", "on_drop"}
"""Settings that import what they name: not for a fuzzer."""

_FUZZED = [name for name in SETTINGS if name not in _IMPORTING]
_HIDDEN = {"api_key", "datafile", "hash_salt", "queue_url"}


def setting(data: bytes) -> None:
    """A text is a setting's value or an error in one line, and no secret is shown."""
    reader = Reader(data)
    number, source = reader.number(), reader.letter()
    name = _FUZZED[abs(number) % len(_FUZZED)]
    text = reader.rest().decode("utf-8", "surrogateescape")
    if name == "datafile" and not text.lstrip().startswith(("{", "[")):
        return  # a path
    environ = {f"ODP_{name.upper()}": text} if source == "e" else {}
    said: list[str] = []
    try:
        config = load(
            {} if environ else {name: text},
            warn=lambda kind, message: said.append(message),
            environ=environ,
        )
    except ConfigurationError as error:
        said.append(str(error))
    else:
        assert type(config) is Config
        said.append(repr(config))
        getattr(config, name)
        config.target()
    # Of a queue's address the host is shown, and what stands before it is not.
    hidden = text.rpartition("@")[0] if name == "queue_url" else text.strip()
    hidden = "" if "${" in text else hidden  # the name of a variable is shown
    for line in said if name in _HIDDEN else ():
        assert line.isprintable()
        assert len(hidden) < 20 or hidden not in line


def datafile(data: bytes) -> None:
    """Bytes are a datafile that names ODP or does not, or an error in one line."""
    try:
        found = read_datafile(Secret(data))
    except ConfigurationError as error:
        assert str(error).isprintable()
    else:
        assert found is None or type(found) is Integration


def wire(data: bytes) -> None:
    """Whatever bytes come back are an answer or none, in time, without the key."""
    ours, theirs = socket.socketpair()
    clock = RequestState()
    clock.start(5.0)
    with ours, theirs:
        theirs.settimeout(5.0)
        theirs.sendall(data[:50_000].replace(b"<key>", KEY.encode()))
        theirs.shutdown(socket.SHUT_WR)
        connection = _HttpConnection("127.0.0.1", port=1, state=clock)
        connection.sock = ours
        try:
            got, reusable = connection.receive()
        except (OSError, ValueError, HTTPException):
            return
        finally:
            connection.close()
    assert got.content is not None or not reusable
    assert not 100 <= got.status < 200
    made = read_response(*got, 3, "https://odp.test", key=Secret(KEY))
    partitions(made, 3)
    assert KEY not in str(made)


def host(data: bytes) -> None:
    """A host that is taken is the one that requests go to, by the path of ODP."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = parsers.parse_host(text)
    except ValueError as error:
        assert str(error).isprintable() and (len(text) < 30 or text not in str(error))
        return
    if found is None:
        assert not text
        return
    parts = urlsplit(f"{found}{PATH}")
    assert parts.path.endswith(PATH) and not parts.query and not parts.fragment
    assert parts.scheme in ("http", "https") and parts.hostname
    assert parts.username is None and (parts.port is None or 0 < parts.port < 2**16)
    assert text.strip().startswith(found) and parsers.parse_host(found)
    HttpSession(
        f"{found}{PATH}", {}, Secret("k"), RequestState(), ignore_proxy=True
    ).close()


def mask(data: bytes) -> None:
    """Nothing is left of a text that is masked, in whichever text it stands."""
    text, *parts = data.decode("utf-8", "replace").split(";")
    left = TextMasker(parts).mask(text).replace(MASK, "\n")
    again = left
    for _ in range(3):
        again = unquote(again)
        for part in parts:
            assert len(part) < 4 or part.casefold() not in again.casefold()


_HEADS = (
    b"POST /v3/events HTTP/1.1\r\nHost: localhost\r\nx-api-key: k\r\n",
    b"POST /v3/graphql HTTP/1.1\r\nHost: localhost\r\nx-api-key: k\r\n",
    b"POST /_emulator/faults?token=t HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /_emulator/events?token=t&limit=",
)
_STATUS = re.compile(rb"HTTP/1\.[01] [1-5]\d\d [ -~]*\r\n")


def emulator(data: bytes) -> None:
    """Whatever a client sends is answered in HTTP or not at all, and counted once."""
    kind, rest = (data[0] % 8, data[1:]) if data else (7, b"")
    if kind < 3:  # a body behind a good head
        more = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        sent = _HEADS[kind] + more % len(rest) + rest
    elif kind < 7:
        sent = _HEADS[kind - 3] + rest
    else:
        sent = rest
    api = EventsApi(Ledger(), Faults(), key=None)
    with Server(
        ("127.0.0.1", 0),
        Handler,
        route=route,
        api=api,
        access=Access("t", allow_remote=False),
        ping_interval=1.0,
    ) as server:
        while server.streams.acquire(blocking=False):
            pass  # a page would wait for events
        with socket.create_connection(server.server_address[:2], 10) as ours:
            theirs, address = server.get_request()
            ours.sendall(sent)
            ours.shutdown(socket.SHUT_WR)
            server.finish_request(theirs, address)
            server.shutdown_request(theirs)
            received = _received(ours)
    assert not received or _STATUS.match(received)
    counts = api.get_stats()
    requests = api.ledger.list_requests()
    assert counts["requests"] + counts["other_requests"] == len(requests)
    kept = [entry for entry in api.list_entries() if entry["status"] != "rejected"]
    assert len(kept) == counts["received"]
    json.dumps(requests)


def _received(connection: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: connection.recv(65_536), b""))
    except ConnectionResetError:
        return b""


def command(data: bytes) -> None:
    """A command line is read, or refused in one line that shows no password."""
    words = [os.fsdecode(word) for word in data.replace(b"\0", b" ").split(b" ")]
    words = [word.replace("//", "//u:PASSW0RD@") for word in words]
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        try:
            build_parser(words).parse_words(words)
        except UsageError as error:
            _print_error(str(error), words)
        except SystemExit as ended:
            assert ended.code == 0  # --help, --version
            return
    text = told.getvalue()
    assert "PASSW0RD" not in text
    assert not text or (text.count("\n") == 1 and text[:-1].isprintable())


def send(data: bytes) -> None:
    """Text for `odp-logging send -` describes events or is refused."""
    try:
        described = _sending.parse_events(data.decode("utf-8", "replace"))
    except CommandError as failed:
        assert str(failed).isprintable()
    else:
        assert all("action" in each for each in described)


def entry(data: bytes) -> None:
    """What a queue or a row of a spool holds is an event byte for byte, or none."""
    told = build_letter_view(data, "not an event", show=False)
    assert json.dumps(told)
    try:
        made = parse_event(data)
    except ValueError:
        assert told["event"]["type"] == "?"
        return
    assert made.json == data == read_stored(data).json
    assert made.identifiers and all(
        type(text) is str for text in (*made.identifiers, *made.identifiers.values())
    )
    assert type(made.idempotence_id) is str and made.type == read_stored(data).type
    assert list(made.to_dict()) and repr(made)
    assert set(told["event"]["identifiers"]) == set(made.identifiers)


EVENTS = 30
_forms: list[dict[str, bytes]] = []


def spool_file(data: bytes) -> None:
    """Of a spool file that is damaged anyhow, what is read is what was written."""
    forms = _forms or _make_forms()
    parts = {end: bytearray(part) for end, part in forms[data[:1] > b"a"].items()}
    edits = [data[place : place + 5] for place in range(1, len(data) - 4, 5)]
    for edit in edits:
        _edit(parts, edit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "account-1-00000000.spool")
        for end, part in parts.items():
            path.with_name(path.name + end).write_bytes(part)
        assert show_status(Path(folder), as_json=True) == 0
        store = make_spool(Path(folder))
        found = drain(store)
        assert balanced(store)
        # A page that stands in two places is read twice: some are sent again.
        assert set(found) <= set(range(EVENTS)) and len(found) <= 3 * EVENTS
        assert edits or len(found) == EVENTS - 10
        store.close()
        assert show_status(Path(folder), as_json=True) == 0
        for left in Path(folder).glob("*.spool"):
            try:
                with SpoolReader(left) as reader:
                    reader.read_dead_letters()
            except SpoolError:
                pass


def _edit(parts: dict[str, bytearray], edit: bytes) -> None:
    """Change one part: a byte, a sector, a page by another page, or its length."""
    end = "-wal" if edit[0] & 1 and "-wal" in parts else ""
    part, value = parts[end], edit[4]
    if not part:
        return
    place = int.from_bytes(edit[1:4], "big") % len(part)
    kind = edit[0] >> 1 & 7
    if kind == 1:
        part[place : place + 512] = bytes([value]) * len(part[place : place + 512])
    elif kind == 2:
        other = value % (len(part) // 4096 or 1) * 4096
        place = place // 4096 * 4096
        part[place : place + 4096] = part[other : other + 4096]
    elif kind == 3:
        del part[place:]
    else:
        part[place] = value


def _make_forms() -> list[dict[str, bytes]]:
    """Return what a killed process leaves, and one whose log was moved."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_spool(Path(folder))
        for number in range(EVENTS):
            store.put(numbered(number, fill="y" * (number * 37 % 400)))
        store.settle(store.take(), Delivery(10, rejected={3: "no"}))
        (path,) = Path(folder).glob("*.spool")
        log = path.with_name(f"{path.name}-wal")
        _forms.append({"": path.read_bytes(), "-wal": log.read_bytes()})
        store.discard("exit")
        _forms.append({"": path.read_bytes()})
    return _forms


TARGETS: dict[str, Callable[[bytes], None]] = {
    "command": command,
    "emulator": emulator,
    "send": send,
    "mapping": mapping,
    "event": event,
    "answer": answer,
    "timestamp": timestamp,
    "setting": setting,
    "datafile": datafile,
    "wire": wire,
    "host": host,
    "mask": mask,
    "entry": entry,
    "spool_file": spool_file,
}


def _read(reader: Reader) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    while reader.more():
        name = _FIELDS.get(reader.letter())
        if name is not None:
            fields[name] = reader.value()
    return fields


def _texts(value: Any) -> list[str]:
    values = value if type(value) in (list, tuple) else [value]
    return [each for each in values if type(each) is str]


def _frozen(value: Any) -> dict[str, Any]:
    # What is bound was checked when it was bound.
    made: dict[str, Any] = {}
    if type(value) is dict:
        made = {key: str(type(each)) for key, each in value.items() if type(key) is str}
    return made


def _lasts(logged: Capture) -> None:
    for part in logged[:5]:
        _exact(part)
    _exact(logged.idempotence_id)


def _exact(value: Any) -> None:
    """Assert that *value* is of built-in types alone, with nobody else's code in it."""
    kind = type(value)
    if kind is dict:
        for key, each in value.items():
            assert type(key) is str and len(key) <= MAX_TEXT + 1
            _exact(each)
    elif kind is list:
        for each in value:
            _exact(each)
    elif kind is str:
        assert len(value) <= MAX_TEXT + 1
    else:
        lasting = (int, float, bool, type(None), Unsupported, InvalidEventError)
        assert any(kind is each for each in lasting) or kind.__module__ == "datetime"


def check(made: OdpEvent) -> None:
    """Assert that *made* is one that ODP takes, and stays the same."""
    sent = json.loads(made.json.decode("utf-8"), parse_constant=_refused)
    assert set(sent) == {"type", "action", "identifiers", "data"}
    for name in ("type", "action"):
        assert type(sent[name]) is str and sent[name].strip()
    assert sent["identifiers"]
    for key, text in sent["identifiers"].items():
        assert key.strip() and len(key) <= MAX_TEXT
        assert type(text) is str and text.strip() and len(text) <= MAX_TEXT
        assert key == "fs_user_id" or key.lower().replace("-", "_") != "fs_user_id"
    assert type(sent["data"]["idempotence_id"]) is str
    assert sent["data"]["idempotence_id"].strip()
    assert _fits(sent, depth=-1) <= 4 * MAX_VALUES
    assert made.to_dict() == sent and made.size == len(made.json)
    same = dataclasses.replace(made)
    assert same.json == made.json and same == made and not same.adjusted
    assert repr(made).isprintable() or not made.action.isprintable() or made.type


def _refused(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


def _fits(value: Any, depth: int) -> int:
    """Assert that *value* is within ODP's limits; return how many values it holds."""
    assert depth <= 9
    if isinstance(value, str):
        assert len(value) <= MAX_TEXT
    elif type(value) is int:
        assert abs(value) <= 2**53
    elif type(value) is float:
        assert math.isfinite(value)
    elif isinstance(value, list):
        return 1 + sum(_fits(each, depth + 1) for each in value)
    elif isinstance(value, dict):
        assert all(len(key) <= MAX_TEXT for key in value)
        return 1 + sum(_fits(each, depth + 1) for each in value.values())
    return 1


def _without_id(made: OdpEvent) -> Any:
    body = made.to_dict()
    body["data"].pop("idempotence_id")
    return body
