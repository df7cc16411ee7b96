"""The command ``send``: events from the shell, and what became of them."""

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

from odp_logging._cli import main
from odp_logging._sending import pair
from odp_logging.stores._directory import spools

from .conftest import KEY

EMAIL = "ada@example.com"
WHO = ["--identifier", "fs_user_id=u1", "--identifier", f"email={EMAIL}"]

Send = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def set_up(emulator, monkeypatch) -> None:
    """Key and host of the emulator in the environment."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)


@pytest.fixture
def send(capsys: pytest.CaptureFixture[str], monkeypatch) -> Send:
    """Run the command; return its status, and what it printed."""

    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main(["send", *words])
        shown = capsys.readouterr()
        assert EMAIL not in shown.out + shown.err
        return status, shown.out, shown.err

    return run


def arrived(emulator: Any) -> list[dict[str, Any]]:
    """Return the events that arrived, the oldest first."""
    return [each["event"] for each in emulator.events() if each["status"] == "accepted"]


def test_one_event(send, emulator):
    """Names and values become an event; the status says that ODP took it."""
    words = ["--type", "order", "--data", "total:=12.5", "--data", "item=a=b:=c"]
    result = send("purchased", *words, *WHO)

    assert result == (0, "1 event delivered\n", "")
    (event,) = arrived(emulator)
    assert (event["type"], event["action"]) == ("order", "purchased")
    assert event["identifiers"] == {"fs_user_id": "u1", "email": EMAIL}
    assert event["data"]["total"] == 12.5
    assert event["data"]["item"] == "a=b:=c"
    assert event["data"]["ts"] > 1.7e9


@pytest.mark.parametrize("form", ["lines", "list", "object"])
def test_events_from_stdin(send, emulator, form):
    """A JSON object, a list of them, or one a line."""
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
    assert [each["action"] for each in arrived(emulator)] == ["a", "b"][: len(events)]
    assert arrived(emulator)[0]["data"]["idempotence_id"] == "1"
    if form != "object":
        assert arrived(emulator)[1]["data"]["ts"] == 5


def test_the_settings_of_the_environment_hold(send, emulator, monkeypatch):
    """Defaults, redaction, hashing and the size of a batch are as for a handler."""
    monkeypatch.setenv("ODP_DEFAULT_IDENTIFIERS", json.dumps({"vuid": "v"}))
    monkeypatch.setenv("ODP_REDACT", "card")
    monkeypatch.setenv("ODP_HASH_IDENTIFIERS", "email")
    monkeypatch.setenv("ODP_MAX_BATCH_SIZE", "2")
    line = {"action": "a", "identifiers": {"email": EMAIL}, "data": {"card": "4111"}}
    status, _, _ = send("-", stdin="\n".join([json.dumps(line)] * 5))

    assert status == 0
    assert emulator.stats()["requests"] == 3
    for event in arrived(emulator):
        assert event["identifiers"]["vuid"] == "v"
        assert len(event["identifiers"]["email"]) == 64
        assert event["data"]["card"] == "[redacted]"


def test_large_events_go_in_turn(send, emulator, monkeypatch):
    """A request holds no more bytes than it may, and one event at least."""
    monkeypatch.setenv("ODP_MAX_BATCH_BYTES", "10")
    status, _, _ = send("-", stdin='{"action": "a", "identifiers": {"v": "1"}}\n' * 3)

    assert status == 0
    assert emulator.stats()["requests"] == 3


def test_a_rejected_event(send, emulator):
    """What ODP rejects is told with its reason, and the status is 1."""
    emulator.fault(events=[0], count=1, status=400)
    status, out, err = send("purchased", *WHO)

    assert (status, out) == (1, "")
    assert err == "event 1 rejected: refused by fault\n"


def test_an_event_that_is_none(send, emulator, monkeypatch):
    """Without identifiers nothing is sent; before_send may fail or leave it out."""
    status, _, err = send("purchased")
    assert status == 1
    assert err.startswith("event 1 rejected: no identifiers in fullstack/purchased")

    monkeypatch.setenv("ODP_BEFORE_SEND", "json.loads")
    status, _, err = send("purchased", *WHO)
    assert (status, err) == (1, "event 1 rejected: making the event raised TypeError\n")

    monkeypatch.setenv("ODP_BEFORE_SEND", "tests.test_sending.nothing")
    status, _, err = send("purchased", *WHO)
    assert (status, err) == (1, "event 1 rejected: before_send left it out\n")
    assert emulator.events() == []


def nothing(event: object) -> None:
    """A before_send that leaves every event out."""


def test_an_outage_that_passes(send, emulator):
    """What ODP does not take at first is sent again within the time."""
    emulator.fault(status=503, count=1)

    assert send("purchased", *WHO) == (0, "1 event delivered\n", "")


def test_an_event_that_is_not_delivered(send, emulator):
    """Within the time limit, or at once for a wrong key: status 3, and why."""
    emulator.fault(status=503)
    status, out, err = send("purchased", "--timeout", "1", *WHO)
    assert (status, out) == (3, "")
    assert "1 event not delivered: " in err and "answered 503; not kept" in err

    emulator.clear_faults()
    emulator.fault(status=403)
    status, _, err = send("purchased", "--timeout", "600", *WHO)
    assert status == 3
    assert "refuses the key …" in err


def test_with_a_spool_it_is_kept(send, emulator, tmp_path, monkeypatch):
    """What is kept is sent by the next process that uses the spool."""
    home = tmp_path / "spool"
    emulator.fault(status=403)
    words = ["--spool", str(home), "--json"]
    status, out, _ = send("purchased", *WHO, *words)
    told = json.loads(out)

    assert status == 3
    assert (told["delivered"], told["undelivered"], told["kept"]) == (0, 1, 1)
    assert len(spools(home)) == 1
    emulator.clear_faults()
    assert main(["replay", "--spool", str(home)]) == 0
    assert [each["action"] for each in arrived(emulator)] == ["purchased"]


def test_a_spool_that_cannot_be_used(send, emulator, tmp_path):
    """A spool that nothing can be written to is said; the status is the same."""
    (tmp_path / "file").write_text("")
    emulator.fault(status=403)
    status, _, err = send("purchased", "--spool", str(tmp_path / "file"), *WHO)

    assert status == 3
    assert "the spool cannot be used: it is no directory; not kept" in err
    assert Path(tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("name", ["ODP_API_KEY", "ODP_ENABLED", "ODP_DURABILITY"])
def test_settings_with_which_nothing_can_be_sent(send, monkeypatch, name):
    """No key, switched off, or a contradiction: one line, and status 2."""
    values = {"ODP_API_KEY": "", "ODP_ENABLED": "no", "ODP_DURABILITY": "crash"}
    monkeypatch.setenv(name, values[name])
    status, out, err = send("purchased", *WHO)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("odp-logging: ")


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", '{"type": "order"}', '{"action": "a", "x": 1}', "5"]
)
def test_input_that_describes_nothing(send, text, emulator):
    """Where one event cannot be read, none is sent: status 2."""
    good = json.dumps({"action": "a", "identifiers": {"email": EMAIL}})
    status, out, err = send("-", stdin=f"{good}\n{text}" if text == "5" else text)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert emulator.events() == []


@pytest.mark.parametrize("given", [b"\xff\xfe{\x00", b"[" * 100_000, None])
def test_input_that_is_no_text(given, emulator):
    """Bytes, nesting without end and a closed stdin are refused in one line."""
    closed = {"preexec_fn": partial(os.close, 0)} if given is None else {}
    done = subprocess.run(
        [sys.executable, "-m", "odp_logging", "send", "-"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        **({"input": given} if given else closed),
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert emulator.events() == []


def test_stdin_is_the_only_source(send):
    """Options beside "-" are a mistake."""
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
def test_pairs(text, value):
    """The first sign counts: = for text, := for JSON."""
    assert pair(text) == value


@pytest.mark.parametrize("text", ["a", "=b", ":=1", "a:=b"])
def test_pairs_that_are_none(text, capsys):
    """What is no pair is said in one line that does not show the value."""
    with pytest.raises(SystemExit) as ended:
        main(["send", "a", "--data", text])

    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
