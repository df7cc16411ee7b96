"""The parts of the benchmarks that take no time, and measure none."""

from __future__ import annotations

import json
import logging
import re
import shlex
import socket
import time
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import amid, bloat, capacity, fleet, peers_programs, shop, sink
from tests.benchmarks.figures import Figure, table
from tests.benchmarks.fleet_queues import PostgresQueue, RedisQueue, fill
from tests.benchmarks.prototype import BATCH, PrototypeHandler
from tests.postgresql import needs_postgresql
from tests.redis_server import needs_redis

OPENER = build_opener(ProxyHandler({}))


def post(server, body):
    """Return the status and the body of the sink's answer."""
    with OPENER.open(Request(f"{server.host}/v3/events", data=body), timeout=10) as got:
        return got.status, json.load(got)


@pytest.mark.parametrize(
    ("value", "target", "sense", "verdict"),
    [
        (1.1, 1.2, "<=", "reached"),
        (1.3, 1.2, "<=", "not reached"),
        (9.0, 8.0, ">=", "reached"),
        (7.0, 8.0, ">=", "not reached"),
        (7.0, None, ">=", ""),
    ],
)
def test_a_verdict_is_that_of_the_ratio(value, target, sense, verdict):
    """A figure of so many times its floor is judged by the ratio."""
    figure = Figure(1, "call", value * 5, "µs", 5.0, "floor", target, sense)

    assert figure.ratio == pytest.approx(value)
    assert figure.verdict == verdict


def test_an_absolute_figure_is_judged_by_its_value():
    """Of a figure in milliseconds the bound is in milliseconds, floor or not."""
    slip = Figure(10, "slip", 16.0, "ms", 2.0, "floor", 20, absolute=True)
    late = Figure(10, "slip", 21.0, "ms", target=20, absolute=True)

    assert (slip.verdict, late.verdict) == ("reached", "not reached")


def test_a_table_has_a_row_for_each_figure_in_the_order_of_the_outcomes():
    """What was measured last may stand first."""
    lines = table(
        [
            Figure(3, "rate", 80_000, "events/s", 10_000, "peer", 8, ">="),
            Figure(1, "call", 5.5, "µs", note="alone"),
        ]
    ).splitlines()

    assert lines[2:] == [
        "| 1 | call; alone | 5.5 µs |  |  |  |  |",
        "| 3 | rate | 80,000 events/s | 10,000 (peer) | 8.00 | >= 8 x | reached |",
    ]


def test_the_sink_counts_what_it_takes():
    """Two requests over one connection or two: their events are counted."""
    event = {"type": "t", "action": "a", "identifiers": {}, "data": {}}
    body = json.dumps([event] * 3).encode()
    with sink.running() as server:
        answers = [post(server, body), post(server, body)]
        counts = server.counts()

    assert [status for status, _ in answers] == [202, 202]
    assert (counts["events"], counts["requests"]) == (6, 2)
    assert counts["bytes"] == 2 * len(body)
    assert len(counts["bodies"]) == 2


def test_the_sink_counts_a_peers_events_by_their_own_mark():
    """Another client's body looks different, and it may insist on a 200."""
    with sink.running(marker='"messageId"', status=200) as server:
        status, answer = post(server, b'{"batch":[{"messageId":1},{"messageId":2}]}')
        counts = server.counts()

    assert (status, answer["code"], counts["events"]) == (200, 200, 2)


def test_the_sink_refuses_when_asked_to():
    """A refused request is counted, its events are not."""
    with sink.running("refuse") as server:
        with pytest.raises(HTTPError) as refused:
            post(server, b'[{"identifiers":{}}]')
        refused.value.close()
        counts = server.counts()

    assert refused.value.code == 503
    assert (counts["requests"], counts["events"]) == (1, 0)


def test_the_sink_hangs_when_asked_to():
    """No answer comes, but the connection stays."""
    with (
        sink.running("hang") as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_the_sink_takes_its_time_when_asked_to():
    """As ODP does, whose answer comes a tenth of a second after the request."""
    with sink.running(delay=0.2) as server:
        began = time.monotonic()
        status, _ = post(server, b'[{"identifiers":{}}]')

    assert status == 202
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("name", command.NAMES)
def test_each_benchmark_can_be_run(name):
    """Each name of the command is a module with a function ``measure``."""
    if find_spec(f"tests.benchmarks.{name}") is None:
        pytest.skip("not written yet")

    assert callable(import_module(f"tests.benchmarks.{name}").measure)


def test_a_call_of_a_peers_own_gets_what_a_log_call_carries(caplog):
    """The same event is measured, whichever way it is sent."""
    with caplog.at_level("INFO", logger=shop.LOGGER.name):
        shop.purchase()

    logged = vars(caplog.records[0])
    assert {name: logged[name] for name in shop.fields()} == shop.fields()


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.connect", (None, ("192.0.2.1", 443))),
        ("socket.getaddrinfo", ("api.example.com", 443, 0, 0, 0)),
    ],
)
def test_no_peer_gets_out_of_this_machine(event, arguments):
    """A connection to anywhere else is refused before it is opened."""
    with pytest.raises(PermissionError):
        peers_programs.stay_here(event, arguments)


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.connect", (None, ("127.0.0.1", 80))),
        ("socket.getaddrinfo", ("localhost", 80, 0, 0, 0)),
        ("open", ("file", "r", 0)),
    ],
)
def test_peers_reach_the_sink(event, arguments):
    """Everything on this machine may be reached."""
    peers_programs.stay_here(event, arguments)


def test_no_event_lost_counts_as_reached():
    """A target of 0 is one, although there is no ratio to 0."""
    none = Figure(14, "lost", 0, "events", target=0, absolute=True)
    some = Figure(14, "lost", 3, "events", target=0, absolute=True)

    assert (none.verdict, some.verdict) == ("reached", "not reached")


def test_the_prototype_delivers_every_event():
    """Full batches by themselves, the remainder when flushed."""
    logger = logging.Logger("prototype")
    with sink.running() as server:
        logger.addHandler(handler := PrototypeHandler(server))
        for _ in range(2 * BATCH + 7):
            logger.info("purchase", extra=shop.fields())
        handler.flush()
        counts = server.counts()

    assert counts["events"] == handler.sent == 2 * BATCH + 7


def test_subjects_take_turns():
    """Blocks alternate, each between its begin and its end; the first is not timed."""
    calls = []
    subjects = [
        amid.Subject(*(partial(calls.append, f"{name}{step}") for step in "cbe"))
        for name in "xy"
    ]
    amid.take_turns(subjects, 4, block=2)

    turn = ["xb", "xc", "xc", "xe", "yb", "yc", "yc", "ye"]
    assert calls == 3 * turn
    assert [len(subject.times) for subject in subjects] == [4, 4]


def test_the_page_has_a_place_for_the_table():
    """``--write`` finds where the table goes."""
    page = command.PAGE.read_text(encoding="utf-8")

    assert page.count("<!-- table -->") == page.count("<!-- /table -->") == 1


def test_the_fleet_is_left_out_where_there_is_no_server(monkeypatch, capsys):
    """The other benchmarks need none."""
    for kind in fleet.QUEUES:
        monkeypatch.setattr(kind, "missing", "not installed")

    assert fleet.measure() == []
    assert "fleet is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(RedisQueue, marks=needs_redis),
        pytest.param(PostgresQueue, marks=needs_postgresql),
    ],
)
def test_what_waits_in_a_queue_is_measured(tmp_path, kind):
    """As many events as asked for, each more than its JSON; and a relay takes some."""
    with kind(tmp_path) as queue:
        before, cpu = queue.read_bytes(), queue.read_cpu()
        size = fill(queue.url, 600)
        waiting, taken = queue.count_waiting(), queue.read_bytes() - before
        with sink.running() as server, fleet.relay(queue.url, server, 2, 100):
            fleet.next_after(server, 2)
        left = queue.count_waiting()
        used = queue.read_cpu() - cpu

    assert waiting == 600
    assert taken > size > 600 * 200
    assert left < waiting
    assert used > 0


def test_what_a_day_needs_is_computed_from_figures(capsys):
    """A thousand a second, at the peak five thousand: numbers to be seen through."""
    figures = "--handoff 50_000 --worker 4_000 --relay 8_000"
    server = "--cpu-in 10 --cpu-out 20 --stored 1_000"
    capacity.main(shlex.split(f"Redis {figures} {server} --events 86_400_000 --peak 5"))
    text = capsys.readouterr().out

    assert "peak factor 5: 1,000.0 x 5 = 5,000 per second" in text
    assert "5,000 / 50,000 = 0.10 of what one process" in text
    assert "5,000 x 3,600 s = 18,000,000" in text
    assert "x 1000 bytes = 16.8 GiB; x 2 while its file is rewritten = 33.5 GiB" in text
    assert "10,000 / 4,000 = 2.50: 3" in text
    assert "= 1.25 CPUs, at most half of one each: 3; with one to lose: 4" in text
    assert "5,000 x 10.0 µs + 10,000 x 20.0 µs = 0.25 CPUs" in text
    assert "half a CPU each 1, at most 16 GiB each 3: 3; shards: 3 x 4 = 12" in text


@needs_postgresql
@pytest.mark.slow
def test_few_events_pass_through_the_program_for_bloat(capfd):
    """All of them are delivered, and no renewal of a lease needed an index."""
    bloat.run(4_000)
    *rows, _, summary = capfd.readouterr().out.splitlines()

    assert ", 0 left, " in summary
    assert rows[-2].startswith("| 4,000 | 0 | odp_events |")
    assert rows[-1].startswith("| 4,000 | 0 | odp_events_leases |")
    updated, hot = rows[-1].split(" | ")[7:9]
    assert updated == hot


def test_the_page_shows_what_the_arithmetic_prints(capsys):
    """Who changes a figure or the arithmetic has the other line by line."""
    page = command.PAGE.read_text(encoding="utf-8")
    blocks = re.findall("<!-- day -->\n(.*?)\n<!-- /day -->", page, re.DOTALL)
    for queue, block in zip(("Redis", "PostgreSQL"), blocks, strict=True):
        first, _, rest = block.replace("\n    ", "\n").strip().partition("\n")
        words = shlex.split(first)
        assert words[:4] == ["python", "-m", "tests.benchmarks.capacity", queue]
        capacity.main(words[3:])

        assert rest.strip() == capsys.readouterr().out.strip()
