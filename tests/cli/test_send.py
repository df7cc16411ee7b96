"""The command ``send`` sends events from the shell, and reports their outcome."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from odp_logging._cli.main import main
from odp_logging._cli.send import parse_pair
from odp_logging._stores.spool.directory import list_files

from ..conftest import KEY

EMAIL = "ada@example.com"
IDENTIFIERS = ["--identifier", "fs_user_id=u1", "--identifier", f"email={EMAIL}"]

Send = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def environment(emulator, monkeypatch) -> None:
    """Set key and host of the emulator in the environment."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)


@pytest.fixture
def send(capsys: pytest.CaptureFixture[str], monkeypatch) -> Send:
    """Return a function that runs the command for its status, stdout and stderr."""

    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main(["send", *words])
        shown = capsys.readouterr()
        assert EMAIL not in shown.out + shown.err
        return status, shown.out, shown.err

    return run


def list_accepted(emulator: Any) -> list[dict[str, Any]]:
    """Return the events that the emulator accepted, the oldest first."""
    entries = emulator.events()
    return [entry["event"] for entry in entries if entry["status"] == "accepted"]


def test_one_event_is_sent(send, emulator):
    """The arguments become an event; status 0 means that ODP accepted it."""
    words = ["--type", "order", "--data", "total:=12.5", "--data", "item=a=b:=c"]
    result = send("purchased", *words, *IDENTIFIERS)

    assert result == (0, "1 event delivered\n", "")
    (event,) = list_accepted(emulator)
    assert (event["type"], event["action"]) == ("order", "purchased")
    assert event["identifiers"] == {"fs_user_id": "u1", "email": EMAIL}
    assert event["data"]["total"] == 12.5
    assert event["data"]["item"] == "a=b:=c"
    assert event["data"]["ts"] > 1.7e9


@pytest.mark.parametrize("form", ["lines", "list", "object"])
def test_events_are_read_from_stdin(send, emulator, form):
    """stdin holds a JSON object, a list of objects, or one object per line."""
    events = [
        {"action": "a", "identifiers": {"email": EMAIL}, "idempotence_id": "1"},
        {"action": "b", "identifiers": {"email": EMAIL}, "timestamp": 5, "type": "t"},
    ]
    if form == "object":
        events = events[:1]
    text = "\n\n".join(map(json.dumps, events)) if form == "lines" else ""
    text = text or json.dumps(events if form == "list" else events[0], indent=1)
    status, out, _ = send("-", stdin=text)

    assert (status, out.split()[0]) == (0, str(len(events)))
    assert [event["action"] for event in list_accepted(emulator)] == ["a", "b"][
        : len(events)
    ]
    assert list_accepted(emulator)[0]["data"]["idempotence_id"] == "1"
    if form != "object":
        assert list_accepted(emulator)[1]["data"]["ts"] == 5


def test_settings_of_the_environment_apply(send, emulator, monkeypatch):
    """Defaults, redaction, hashing and the size of a batch are as for a handler."""
    monkeypatch.setenv("ODP_DEFAULT_IDENTIFIERS", json.dumps({"vuid": "v"}))
    monkeypatch.setenv("ODP_REDACT", "card")
    monkeypatch.setenv("ODP_HASH_IDENTIFIERS", "email")
    monkeypatch.setenv("ODP_MAX_BATCH_SIZE", "2")
    line = {"action": "a", "identifiers": {"email": EMAIL}, "data": {"card": "4111"}}
    status, _, _ = send("-", stdin="\n".join([json.dumps(line)] * 5))

    assert status == 0
    assert emulator.stats()["requests"] == 3
    for event in list_accepted(emulator):
        assert event["identifiers"]["vuid"] == "v"
        assert len(event["identifiers"]["email"]) == 64
        assert event["data"]["card"] == "[redacted]"


def test_a_request_respects_max_batch_bytes(send, emulator, monkeypatch):
    """A request holds at least one event, and no more than fit."""
    monkeypatch.setenv("ODP_MAX_BATCH_BYTES", "10")
    status, _, _ = send("-", stdin='{"action": "a", "identifiers": {"v": "1"}}\n' * 3)

    assert status == 0
    assert emulator.stats()["requests"] == 3


def test_a_rejected_event_is_reported(send, emulator):
    """An event that ODP rejects is printed with the reason; the status is 1."""
    emulator.fault(events=[0], count=1, status=400)
    status, out, err = send("purchased", *IDENTIFIERS)

    assert (status, out) == (1, "")
    assert err == "event 1 rejected: refused by fault\n"


def test_an_invalid_event_is_not_sent(send, emulator, monkeypatch):
    """It has no identifiers, or before_send raises or leaves it out."""
    status, _, err = send("purchased")
    assert (status, err) == (
        1,
        "event 1 rejected: no identifiers; add --identifier email=a@example.com\n",
    )

    monkeypatch.setenv("ODP_BEFORE_SEND", "json.loads")
    status, _, err = send("purchased", *IDENTIFIERS)
    assert (status, err) == (
        1,
        "event 1 rejected: building the event raised TypeError\n",
    )

    monkeypatch.setenv("ODP_BEFORE_SEND", "tests.cli.test_send.leave_out")
    status, _, err = send("purchased", *IDENTIFIERS)
    assert (status, err) == (1, "event 1 rejected: before_send left it out\n")
    assert emulator.events() == []


def test_a_missing_identifier_is_reported_in_terms_of_the_input(send, monkeypatch):
    """On stdin it is a key of the object; an identifier that is given is named."""
    status, _, err = send("-", stdin='{"action": "a"}')
    assert (status, err) == (
        1,
        'event 1 rejected: no identifiers; add "identifiers": {"email":'
        ' "a@example.com"}\n',
    )

    status, _, err = send("purchased", "--identifier", "email=")
    assert (status, "email is empty" in err) == (1, True)
    monkeypatch.setenv("ODP_DEFAULT_IDENTIFIERS", json.dumps({"vuid": "v"}))
    assert send("purchased") == (0, "1 event delivered\n", "")


PLACEHOLDER = (
    'an identifier is the text "None": ODP merges all customers that have it. Log no'
    " identifier where there is none, or set reject_placeholders"
)


def test_warnings_of_a_log_call_are_printed(send):
    """An event that ODP takes and does not use as meant is reported with its number."""
    status, out, err = send("a", "--identifier", "emial=x", *IDENTIFIERS)
    assert (status, out) == (0, "1 event delivered\n")
    assert err.startswith('event 1 warning: "emial" cannot be an identifier in ODP: ')
    assert err.count("\n") == 1

    lines = [{"fs_user_id": "u1"}, {"email": "None"}, {"vuid": "v", "email": [EMAIL]}]
    stdin = "\n".join(json.dumps({"action": "a", "identifiers": x}) for x in lines)
    status, out, err = send("-", stdin=stdin)
    assert (status, out) == (0, "3 events delivered\n")
    assert err.splitlines() == [
        f"event 2 warning: {PLACEHOLDER}",
        "event 3 warning: an identifier was left out: a value of the type list; the"
        " event is sent with the others",
    ]


def test_warnings_are_in_the_json(send):
    """They have the event's position, as rejections do; there are none in most runs."""
    _, out, err = send("a", "--identifier", "email=None", "--json")
    assert json.loads(out)["warnings"] == [{"event": 0, "text": PLACEHOLDER}]
    assert err == ""

    _, out, _ = send("a", *IDENTIFIERS, "--json")
    assert json.loads(out)["warnings"] == []


def leave_out(event: object) -> None:
    """Leave every event out, as a before_send function."""


def test_a_short_outage_is_retried(send, emulator):
    """An event that ODP does not accept at first is sent again within the time."""
    emulator.fault(status=503, count=1)

    assert send("purchased", *IDENTIFIERS) == (0, "1 event delivered\n", "")


def test_an_undelivered_event_is_reported(send, emulator):
    """After --timeout, or at once if the key is refused, the status is 3."""
    emulator.fault(status=503)
    status, out, err = send("purchased", "--timeout", "1", *IDENTIFIERS)
    assert (status, out) == (3, "")
    assert "1 event not delivered: " in err and "answered 503; not kept" in err

    emulator.clear_faults()
    emulator.fault(status=403)
    status, _, err = send("purchased", "--timeout", "600", *IDENTIFIERS)
    assert status == 3
    assert "refuses the key …" in err


def test_an_undelivered_event_is_kept_in_the_spool(
    send, emulator, tmp_path, monkeypatch
):
    """A kept event is sent by the next process that uses the spool."""
    home = tmp_path / "spool"
    emulator.fault(status=403)
    words = ["--spool", str(home), "--json"]
    status, out, _ = send("purchased", *IDENTIFIERS, *words)
    summary = json.loads(out)

    assert status == 3
    assert (summary["delivered"], summary["undelivered"], summary["kept"]) == (0, 1, 1)
    assert len(list_files(home)) == 1
    emulator.clear_faults()
    assert main(["replay", "--spool", str(home)]) == 0
    assert [event["action"] for event in list_accepted(emulator)] == ["purchased"]


def test_an_unusable_spool_is_reported(send, emulator, tmp_path):
    """A spool that cannot be written is named; the status stays 3."""
    (tmp_path / "file").write_text("")
    emulator.fault(status=403)
    status, _, err = send("purchased", "--spool", str(tmp_path / "file"), *IDENTIFIERS)

    assert status == 3
    assert "the spool cannot be used: it is no directory; not kept" in err
    assert Path(tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("name", ["ODP_API_KEY", "ODP_ENABLED", "ODP_DURABILITY"])
def test_settings_that_prevent_sending_are_reported(send, monkeypatch, name):
    """No key, ODP_ENABLED=no or a contradiction is one line, with status 2."""
    values = {"ODP_API_KEY": "", "ODP_ENABLED": "no", "ODP_DURABILITY": "crash"}
    monkeypatch.setenv(name, values[name])
    status, out, err = send("purchased", *IDENTIFIERS)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("odp-logging: ")


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", '{"type": "order"}', '{"action": "a", "x": 1}', "5"]
)
def test_invalid_input_is_refused(send, text, emulator):
    """If one event cannot be read, none is sent, and the status is 2."""
    good = json.dumps({"action": "a", "identifiers": {"email": EMAIL}})
    status, out, err = send("-", stdin=f"{good}\n{text}" if text == "5" else text)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert emulator.events() == []


@pytest.mark.parametrize("content", [b"\xff\xfe{\x00", b"[" * 100_000, None])
def test_unreadable_input_is_refused(content, emulator):
    """Other encodings, deep nesting and a closed stdin are refused in one line."""
    closed = {"preexec_fn": partial(os.close, 0)} if content is None else {}
    ended = subprocess.run(
        [sys.executable, "-m", "odp_logging", "send", "-"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        **({"input": content} if content else closed),
        capture_output=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1)
    assert emulator.events() == []


def test_stdin_and_options_exclude_each_other(send):
    """Options of an event beside "-" are refused."""
    assert send("-", "--type", "order")[0] == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=b", ("a", "b")),
        ("a=", ("a", "")),
        ("a:=null", ("a", None)),
        ('a:=[1, "x"]', ("a", [1, "x"])),
        ("a:b=c", ("a:b", "c")),
        ("a==b", ("a", "=b")),
    ],
)
def test_pairs_are_parsed(text, value):
    """The first sign decides: = for text, := for JSON."""
    assert parse_pair(text) == value


@pytest.mark.parametrize("text", ["a", "=b", ":=1", "a:=b"])
def test_invalid_pairs_are_refused(text, capsys):
    """The message is one line."""
    with pytest.raises(SystemExit) as ended:
        main(["send", "a", "--data", text])

    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
