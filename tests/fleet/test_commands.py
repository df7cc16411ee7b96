"""The commands for a queue: `relay status` and `dead`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from odp_logging import OdpEvent
from odp_logging._cli.main import main
from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.store import QueueStore

from .queues import Queue

EMAIL = "ada@example.com"


def build_events(count: int) -> list[OdpEvent]:
    """Return *count* events about one person."""
    return [
        OdpEvent("sold", {"email": EMAIL}, data={"n": n, "note": f"for {EMAIL}"})
        for n in range(count)
    ]


@pytest.fixture
def worker(queue: Queue) -> Iterator[QueueStore]:
    """A worker with one leased event; two are ready, and two are dead letters."""
    store = queue.build_store(batch_size=3)
    store.hand_over(build_events(5))
    rejected = {0: f"no such person {EMAIL}", 1: "missing type"}
    store.settle(store.take(), Delivery(3, rejected=rejected, pending=(2,)))
    yield store
    store.close()


@pytest.fixture
def queue_url(queue: Queue, worker: QueueStore) -> str:
    """The URL of its queue."""
    return queue.url


def list_letters(url: str, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    """Return the dead letters that `dead list --json` prints."""
    assert main(["dead", "list", "--from", url, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "form", [["relay", "status", "--from", "{}"], ["relay", "--from", "{}", "status"]]
)
def test_status_counts_events_and_lists_workers(queue_url, capsys, form):
    """Ready, leased and dead events, and each worker with its leases."""
    words = [word.format(queue_url) for word in form]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)

    assert "2 events ready, 1 leased, 2 dead letters, 1 worker" in text
    assert re.search(r"1 event leased, last request \d+ s ago", text)
    assert (status["ready"], status["leased"], status["dead"]) == (2, 1, 2)
    assert status["workers"][0]["pending"] == 1


def test_dead_letters_are_listed_without_identifiers(queue_url, capsys):
    """One line for each, with the reason; identifiers are masked."""
    assert main(["dead", "list", "--from", queue_url]) == 0
    out = capsys.readouterr().out

    assert len(out.splitlines()) == 2
    assert "fullstack/sold  email=***  missing type" in out
    assert EMAIL not in out


def test_dead_show_prints_all_fields_of_one_letter(queue_url, capsys):
    """With its deliveries; identifiers only with --show-identifiers."""
    name = list_letters(queue_url, capsys)[0]["id"]
    assert main(["dead", "show", name, "--from", queue_url]) == 0
    masked = capsys.readouterr().out
    main(["dead", "show", name, "--from", queue_url, "--show-identifiers"])
    whole = json.loads(capsys.readouterr().out)

    assert EMAIL not in masked
    assert whole["deliveries"] == 1
    assert whole["event"]["identifiers"] == {"email": EMAIL}
    assert whole["event"]["data"]["n"] == 0


def test_a_retried_dead_letter_is_back_in_the_queue(queue, worker, capsys):
    """The event keeps its id; the other dead letters stay."""
    first, second = list_letters(queue.url, capsys)
    assert main(["dead", "retry", first["id"], "--from", queue.url]) == 0
    output = capsys.readouterr().out
    worker.discard("exit")  # else it keeps the events of this customer
    other = queue.build_store()
    ids = [event.idempotence_id for event in other.take().events]
    other.close()

    assert output == "1 dead letter retried\n"
    assert first["event"]["data"]["idempotence_id"] in ids
    assert [letter["id"] for letter in list_letters(queue.url, capsys)] == [
        second["id"]
    ]


def test_dead_letters_are_dropped(queue_url, capsys):
    """--all drops every one."""
    assert main(["dead", "drop", "--all", "--from", queue_url, "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"dropped": 2}
    assert list_letters(queue_url, capsys) == []


def test_the_queue_of_the_environment_is_used(queue_url, monkeypatch, capsys):
    """ODP_QUEUE_URL names the queue if no option names a queue or a spool."""
    monkeypatch.setenv("ODP_QUEUE_URL", queue_url)

    assert main(["relay", "status"]) == 0
    assert main(["dead", "list"]) == 0
    assert "missing type" in capsys.readouterr().out


def test_an_unknown_dead_letter_is_named(queue_url, capsys):
    """In one line, with exit status 2."""
    assert main(["dead", "drop", "0.1-1", "--from", queue_url]) == 2
    assert "there is no dead letter 0.1-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["relay"], "which queue? name it with --from URL"),
        (["relay", "--from", "http://h/"], "expected a URL such as redis://"),
        (["relay", "--from", "redis://127.0.0.1:1/"], "ODP_API_KEY is not set"),
        (
            ["relay", "status", "--from", "redis://127.0.0.1:1/"],
            "refused the connection",
        ),
        (["dead", "list", "--from", "redis://h/?shard=1"], "its options are stream"),
    ],
)
def test_an_error_is_one_line(words, message, capsys):
    """It says what to do; the exit status is 2."""
    assert main(words) == 2
    err = capsys.readouterr().err

    assert message in err
    assert len(err.splitlines()) == 1
