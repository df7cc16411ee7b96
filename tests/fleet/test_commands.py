"""The commands that look after a queue."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from odp_logging import OdpEvent
from odp_logging._cli import main
from odp_logging._delivery import Delivery

from ..redis_server import RedisServer, needs_redis
from ..stores.test_redis import made
from ..stores.test_spool import left_behind
from .processes import environment

pytestmark = needs_redis

EMAIL = "ada@example.com"


def events(count: int) -> list[OdpEvent]:
    """Return so many events about one person."""
    return [
        OdpEvent("sold", {"email": EMAIL}, data={"n": n, "note": f"for {EMAIL}"})
        for n in range(count)
    ]


@pytest.fixture
def buried(redis: RedisServer) -> str:
    """A queue with two dead letters, one event on loan and two ready; its URL."""
    stream = made(redis, "shards=2", batch_size=3)
    stream.hand_over(events(5))
    rejected = {0: f"no such person {EMAIL}", 1: "missing type"}
    stream.settle(stream.take(), Delivery(3, rejected=rejected, pending=(2,)))
    return f"{redis.url}?shards=2"


def letters(url: str, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    """Return what `dead list --json` says."""
    assert main(["dead", "list", "--from", url, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "form", [["relay", "status", "--from", "{}"], ["relay", "--from", "{}", "status"]]
)
def test_status_counts_what_waits_and_who_works(buried, capsys, form):
    """Ready, on loan, dead, and each worker with what it holds."""
    words = [word.format(buried) for word in form]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert "2 events ready, 1 on loan, 2 dead letters, 1 workers" in text
    assert "1 events on loan, last heard of 0 s ago" in text
    assert (told["ready"], told["leased"], told["dead"]) == (2, 1, 2)
    assert told["workers"][0]["pending"] == 1


def test_dead_letters_are_listed_without_identifiers(buried, capsys):
    """A line each, with reason, and nothing that names a person."""
    assert main(["dead", "list", "--from", buried]) == 0
    out = capsys.readouterr().out

    assert len(out.splitlines()) == 2
    assert "fullstack/sold  email=***  missing type" in out
    assert EMAIL not in out


def test_a_dead_letter_is_shown_whole_on_request(buried, capsys):
    """With its deliveries and where it was; identifiers only if asked for."""
    name = letters(buried, capsys)[0]["id"]
    assert main(["dead", "show", name, "--from", buried]) == 0
    masked = capsys.readouterr().out
    main(["dead", "show", name, "--from", buried, "--show-identifiers"])
    whole = json.loads(capsys.readouterr().out)

    assert EMAIL not in masked
    assert whole["deliveries"] == 1
    assert whole["event"]["identifiers"] == {"email": EMAIL}
    assert whole["event"]["data"]["n"] == 0


def test_a_retried_dead_letter_is_back_in_the_queue(buried, redis, capsys):
    """It keeps its id; the others stay where they are."""
    first, second = letters(buried, capsys)
    assert main(["dead", "retry", first["id"], "--from", buried]) == 0
    said = capsys.readouterr().out
    found = made(redis, "shards=2").take().events

    ids = [each.idempotence_id for each in found]
    assert said == "1 dead letter retried\n"
    assert first["event"]["data"]["idempotence_id"] in ids
    assert [each["id"] for each in letters(buried, capsys)] == [second["id"]]


def test_dead_letters_are_dropped(buried, capsys):
    """With --all, all of them."""
    assert main(["dead", "drop", "--all", "--from", buried, "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"dropped": 2}
    assert letters(buried, capsys) == []


def test_the_queue_of_the_environment_is_used(buried, monkeypatch, capsys):
    """ODP_QUEUE_URL names it where neither queue nor spool is named."""
    monkeypatch.setenv("ODP_QUEUE_URL", buried)

    assert main(["relay", "status"]) == 0
    assert main(["dead", "list"]) == 0
    assert "missing type" in capsys.readouterr().out


def test_an_unknown_dead_letter_is_named(buried, capsys):
    """One line, and exit status 2."""
    assert main(["dead", "drop", "0.1-1", "--from", buried]) == 2
    assert "there is no dead letter 0.1-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["relay"], "which queue? name it with --from URL"),
        (["relay", "--from", "http://h/"], "expected a URL such as redis://"),
        (["relay", "--from", "redis://127.0.0.1:1/"], "ODP_API_KEY is not set"),
        (["relay", "status", "--from", "redis://127.0.0.1:1/"], "gave no answer"),
        (["dead", "list", "--from", "redis://h/?shard=1"], "its options are stream"),
    ],
)
def test_what_is_missing_is_said_in_one_line(words, said, capsys):
    """Exit status 2, and what to do."""
    assert main(words) == 2
    err = capsys.readouterr().err

    assert said in err
    assert len(err.splitlines()) == 1


# Replay.


def lines(path: Path, found: list[OdpEvent]) -> Path:
    """Write *found* to *path*, one a line."""
    path.write_bytes(b"".join(each.json + b"\n" for each in found))
    return path


def test_a_file_of_events_is_put_into_the_queue(redis, tmp_path, capsys):
    """All of them, with their ids, in their order; lines that hold none are counted."""
    found = events(1200)
    path = lines(tmp_path / "events.jsonl", found)
    with open(path, "ab") as file:
        file.write(b"no event\n\n[1]\n")

    assert main(["replay", str(path), "--to", redis.url]) == 1
    assert capsys.readouterr().out == (
        "1200 of 1200 events put into the queue, 0 left; 2 lines hold no event\n"
    )
    entries = redis.ask("XRANGE", "odp:events:{0}", "-", "+")
    assert [fields[b"e"] for _, fields in entries] == [each.json for each in found]


def test_a_file_of_a_spool_is_put_into_the_queue(redis, tmp_path, capsys):
    """What a machine left on its disk reaches ODP through the relays."""
    found = left_behind(tmp_path / "spool", 7)
    (path,) = (tmp_path / "spool").glob("*.spool")

    assert main(["replay", str(path), "--to", redis.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"found": 7, "sent": 7, "left": 0, "unfit": 0}
    entries = redis.ask("XRANGE", "odp:events:{0}", "-", "+")
    assert [fields[b"e"] for _, fields in entries] == [each.json for each in found]


def test_a_full_queue_ends_the_replay_in_time(redis, tmp_path, capsys):
    """What found no room is counted, and the exit status says so."""
    path = lines(tmp_path / "events", events(20))
    url = f"{redis.url}?high_water=15"

    assert main(["replay", str(path), "--to", url, "--timeout", "1"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("15 of 20 events put into the queue, 5 left (the queue ")
    assert "is full" in out


def test_a_file_that_is_not_there_is_named(redis, tmp_path, capsys):
    """One line, and exit status 2."""
    assert main(["replay", str(tmp_path / "none"), "--to", redis.url]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_terminal_sees_a_bar(redis, tmp_path):
    """On a terminal the replay shows how far it is, on stderr."""
    pytest.importorskip("rich")
    path = lines(tmp_path / "events", events(2000))
    ours, theirs = pty.openpty()
    said: list[bytes] = []

    def listen() -> None:
        try:
            while chunk := os.read(ours, 4096):
                said.append(chunk)
        except OSError:  # the other end is closed
            pass

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "odp_logging", "replay", str(path)],
            env=environment(ODP_QUEUE_URL=redis.url, TERM="xterm", COLUMNS="80"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=60,
        )
    finally:
        os.close(theirs)
        listener.join(10)
        os.close(ours)

    assert done.stdout == b"2000 of 2000 events put into the queue, 0 left\n"
    assert b"replay" in b"".join(said)
