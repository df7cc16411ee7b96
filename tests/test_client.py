"""OdpClient: direct calls, flushing, destinations, callbacks, stats."""

from __future__ import annotations

import asyncio
import enum
import gc
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from odp_logging import (
    ConfigurationError,
    OdpClient,
    OdpEvent,
    OdpHandler,
    bind_identifiers,
    flush,
)
from odp_logging.emulator import Emulator

from .conftest import KEY

WHO = {"fs_user_id": "u1"}
LOGGED = {"odp_identifiers": WHO}


def sent(emulator: Emulator) -> list[Any]:
    """Return the events that the emulator accepted."""
    return [each["event"] for each in emulator.events()]


def make(emulator: Emulator, **settings: Any) -> OdpClient:
    """Return a client that sends to *emulator*."""
    return OdpClient(KEY, api_host=emulator.url, handle_sigterm=False, **settings)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the library said of itself."""
    return [each.getMessage() for each in caplog.records if each.name == "odp_logging"]


def test_send_odp_event_is_the_python_sdks_call(client, emulator):
    """The SDK's example call, positional arguments and all, sends its event."""
    identifiers = {"fs_user_id": "user123", "email": "a@example.com"}
    data = {"item": "shirt", "price": 50.00}
    client.send_odp_event("purchased", identifiers, "fullstack", data)

    assert client.flush(5)
    (event,) = sent(emulator)
    assert (event["type"], event["action"]) == ("fullstack", "purchased")
    assert event["identifiers"] == identifiers
    assert event["data"]["item"] == "shirt"
    assert event["data"]["price"] == 50.0
    assert event["data"]["data_source_type"] == "sdk"
    assert event["data"]["data_source"] == "odp-logging"


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_type_is_fullstack(client, emulator, empty):
    """type None or "" is fullstack, as in every SDK."""
    client.send_odp_event("purchased", WHO, empty)

    assert client.flush(5)
    assert sent(emulator)[0]["type"] == "fullstack"


@pytest.mark.parametrize(
    ("arguments", "reason", "message"),
    [
        (("", WHO), "no_action", "the action is empty"),
        ((None, WHO), "no_action", "the action is empty"),
        (("a", {}), "no_identifiers", "no identifiers"),
        (("a", None), "no_identifiers", "no identifiers"),
        (("a", {"email": ""}), "no_identifiers", "no identifiers"),
        (("a", ["u1"]), "bad_identifiers", "odp_identifiers must be a dict"),
        (("a", WHO, "t", ["x"]), "bad_data", "odp_data must be a dict"),
        (("a", WHO, {"x": 1}), "bad_type", "odp_type must be text"),
        ((["a"], WHO), "bad_action", "odp_action must be text"),
    ],
)
def test_a_bad_direct_call_is_counted_and_named(
    client, emulator, caplog, arguments, reason, message
):
    """What ODP could not store is rejected with a reason and the place of the call."""
    client.send_odp_event(*arguments)
    client.send_odp_event("good", WHO)
    client.close()

    assert client.stats.rejected == {reason: 1}
    assert client.stats.delivered == 1
    assert len(said(caplog)) == 1
    assert said(caplog)[0].startswith(f"{__file__}:")
    assert message in said(caplog)[0]


def test_send_takes_an_event(client, emulator):
    """An OdpEvent made by the caller is sent as it is."""
    event = OdpEvent("viewed", WHO, "product")
    client.send(event)

    assert client.flush(5)
    assert sent(emulator) == [event.to_dict()]


def test_send_takes_nothing_else(client, caplog):
    """What is no event is counted and named, and raises nothing."""
    client.send({"action": "viewed"})

    assert client.stats.rejected == {"no_event": 1}
    assert "send takes an OdpEvent, not dict" in said(caplog)[0]


def test_identify_connects_two_identifiers(client, emulator):
    """identify sends fullstack/identified with two identifiers."""
    client.identify({"FS-USER-ID": "u1", "email": "a@example.com"})

    assert client.flush(5)
    (event,) = sent(emulator)
    assert (event["type"], event["action"]) == ("fullstack", "identified")
    assert event["identifiers"] == {"fs_user_id": "u1", "email": "a@example.com"}


@pytest.mark.parametrize(
    "identifiers",
    [{}, None, WHO, {"a": "1", "b": ""}, {"fs_user_id": "u", "FS-USER-ID": "u"}, "x"],
)
def test_identify_with_fewer_sends_nothing(client, emulator, caplog, identifiers):
    """One identifier connects nothing: nothing is sent, and it is said."""
    client.identify(identifiers)

    assert client.flush(5)
    assert sent(emulator) == []
    assert client.stats.rejected == {"identify": 1}
    assert "identify needs two identifiers" in said(caplog)[0]
    assert said(caplog)[0].startswith(f"{__file__}:")


def test_identify_counts_what_is_bound(client, emulator):
    """A bound identifier and a given one are two."""
    bind_identifiers(fs_user_id="u1")
    client.identify({"email": "a@example.com"})

    assert client.flush(5)
    assert len(sent(emulator)) == 1


def test_flush_waits_for_all_that_was_put(client, emulator):
    """flush returns True when every earlier event was answered for."""
    for number in range(250):
        client.send_odp_event("viewed", WHO, data={"n": number})

    assert client.flush(10)
    assert [each["data"]["n"] for each in sent(emulator)] == list(range(250))


def test_flush_gives_up_after_its_timeout(emulator):
    """flush returns False when ODP does not take the events in time."""
    emulator.fault(status=503)
    with make(emulator, shutdown_timeout=0.1) as client:
        client.send_odp_event("viewed", WHO)

        assert client.flush(0.2) is False
        emulator.clear_faults()
        assert client.flush(10) is True


def test_flush_of_nothing_is_done():
    """A client that was never used has nothing to flush, and no thread."""
    before = threading.active_count()
    client = OdpClient("k")

    assert client.flush(0) is True
    assert threading.active_count() == before


def test_the_module_flushes_every_client(emulator):
    """odp_logging.flush() flushes all clients of the process under one timeout."""
    clients = [make(emulator, flush_interval=60) for _ in range(3)]
    for client in clients:
        client.send_odp_event("viewed", WHO)

    assert flush(5)
    assert len(sent(emulator)) == 3
    for client in clients:
        client.close()


def test_a_closed_client_still_works(emulator):
    """close delivers, can be called again, and a later event is delivered too."""
    client = make(emulator, flush_interval=60)
    client.send_odp_event("viewed", WHO)
    assert client.close()
    assert client.close()
    assert len(sent(emulator)) == 1

    client.send_odp_event("viewed", WHO)
    assert client.close()
    assert len(sent(emulator)) == 2


def test_close_says_when_something_is_left(emulator):
    """close returns False within its timeout, and what is left is still delivered."""
    emulator.fault(status=503)
    client = make(emulator)
    client.send_odp_event("viewed", WHO)

    assert client.close(0.3) is False
    assert client.stats.pending == 1
    emulator.clear_faults()
    assert client.close(10) is True
    assert len(sent(emulator)) == 1


def test_aflush_and_aclose(emulator):
    """The async forms wait without holding up the event loop."""
    client = make(emulator, flush_interval=60)
    emulator.fault(latency=0.3, count=1)
    beats: list[float] = []

    async def beat() -> None:
        loop = asyncio.get_running_loop()
        while True:
            beats.append(loop.time())
            await asyncio.sleep(0.005)

    async def main() -> tuple[bool, bool]:
        heart = asyncio.ensure_future(beat())
        client.send_odp_event("viewed", WHO)
        flushed = await client.aflush(10)
        client.send_odp_event("viewed", WHO)
        closed = await client.aclose(10)
        heart.cancel()
        return flushed, closed

    assert asyncio.run(main()) == (True, True)
    assert len(sent(emulator)) == 2
    assert len(beats) > 10


def test_aflush_gives_up_after_its_timeout(emulator):
    """aflush returns False when ODP does not take the events in time."""
    emulator.fault(status=503)
    client = make(emulator)
    client.send_odp_event("viewed", WHO)

    assert asyncio.run(client.aflush(0.2)) is False
    emulator.clear_faults()
    assert client.close(10)


def test_without_background_the_caller_sends(emulator):
    """background=False sends within the call, and starts no thread."""
    client = make(emulator, background=False)
    before = threading.active_count()
    client.send_odp_event("viewed", WHO)

    assert client.stats.delivered == 1
    assert len(sent(emulator)) == 1
    assert asyncio.run(client.aflush(5))
    assert threading.active_count() <= before + 1  # asyncio's own executor


def test_without_background_an_outage_does_not_hold_every_call(emulator):
    """background=False keeps events while a retry has to wait, and sends them later."""
    emulator.fault(status=429, retry_after=30, count=1)
    client = make(emulator, background=False, shutdown_timeout=0.1)
    for _ in range(5):
        client.send_odp_event("viewed", WHO)

    assert len(emulator.requests()) == 1
    assert client.stats.pending == 5
    client._flusher.give_up("end of the test")


def test_without_a_key_events_wait(emulator, caplog):
    """Events put before a key is known are kept, said once, and sent when it comes."""
    client = OdpClient(handle_sigterm=False)
    for _ in range(3):
        client.send_odp_event("viewed", WHO)

    assert client.flush(0.05) is False
    assert client.stats.state == "unconfigured"
    assert client.stats.pending == 3
    assert len(said(caplog)) == 1
    assert said(caplog)[0].startswith("ODP_API_KEY is not set")

    client.configure(KEY, api_host=emulator.url)
    assert client.flush(5)
    assert len(sent(emulator)) == 3
    client.close()


def test_a_datafile_configures(emulator):
    """A datafile that comes later names the destination."""
    client = OdpClient(handle_sigterm=False)
    client.send_odp_event("viewed", WHO)
    entry = {"key": "odp", "host": emulator.url, "publicKey": KEY}
    client.configure(datafile={"integrations": [entry]})

    assert client.flush(5)
    assert len(sent(emulator)) == 1
    client.close()


def test_configure_needs_a_key():
    """configure() without a key says so."""
    with pytest.raises(ConfigurationError, match="found no key"):
        OdpClient().configure(datafile={})


def test_a_change_of_key_does_not_move_old_events(caplog):
    """Events go where they were meant to go when they were put, also during a fault."""
    with Emulator(key="old") as old, Emulator(key="new") as new:
        old.fault(status=401, count=1)
        client = OdpClient("old", api_host=old.url, handle_sigterm=False)
        client.send_odp_event("viewed", WHO, data={"n": 1})
        assert client.flush(0.3) is False

        client.configure("new", api_host=new.url)
        client.send_odp_event("viewed", WHO, data={"n": 2})
        assert new.wait_for(1, timeout=5)
        assert client.flush(5)

        assert [each["data"]["n"] for each in sent(old)] == [1]
        assert [each["data"]["n"] for each in sent(new)] == [2]
        assert client.stats.delivered == 2
        client.close()


@pytest.mark.parametrize("spool", [False, True], ids=["memory", "spool"])
def test_held_events_wait_for_the_next_destination(
    spool, emulator, logger, caplog, tmp_path
):
    """After hold() a log call's event waits, and goes to what is configured next."""
    settings = {"spool": tmp_path / "spool"} if spool else {}
    with Emulator(key="new") as new, make(emulator, **settings) as client:
        logger.addHandler(OdpHandler(client=client))
        log = partial(logger.info, "x", extra={"odp_action": "a", **LOGGED})
        log()
        client.hold("not now; up to {count} events are kept")
        log()
        client.hold("still not")
        assert (client.flush(5), client.stats.state) == (False, "unconfigured")
        assert (len(sent(emulator)), client.stats.pending) == (1, 1)
        client.configure("new", api_host=new.url)
        log()
        assert client.flush(5)

        assert (len(sent(emulator)), len(sent(new))) == (1, 2)
        assert said(caplog) == ["not now; up to 10000 events are kept"]
        assert client.stats.delivered == client.stats.accepted == 3


def test_of_threads_that_change_the_key_one_wins(logger):
    """Whichever key comes last, a log call's event goes there, the short way too."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Emulator() as one, Emulator() as other:
            for turn in range(100):
                client = make(one)
                handler = OdpHandler(client=client)
                logger.addHandler(handler)
                with ThreadPoolExecutor() as threads:
                    for number, each in enumerate((other, one, other)):
                        change = partial(client.configure, api_host=each.url)
                        threads.submit(change, f"{turn}-{number}")
                logger.info("x", extra={"odp_action": f"{turn}", **LOGGED})
                assert client.close(5)
                logger.removeHandler(handler)

                host = client.destination.api_host
                last = one if host == one.url else other
                assert sent(last)[-1]["action"] == f"{turn}"
    finally:
        sys.setswitchinterval(interval)


def test_many_changes_of_key_leave_nothing_behind(emulator):
    """Earlier destinations end when they have delivered; their counts are kept."""
    client = OdpClient(KEY, api_host=emulator.url, handle_sigterm=False)
    with Emulator() as other:
        for turn in range(25):
            client.send_odp_event("viewed", WHO)
            assert client.flush(5)
            client.configure(f"key-{turn}", api_host=other.url)

        assert client.close()
        client.configure(KEY, api_host=emulator.url)
        assert len(client._history[0]) <= 18
        assert client.stats.delivered == 25
        assert client.stats.accepted == 25


def test_configuring_the_same_changes_nothing(client, emulator):
    """A datafile that is polled does not make a pipeline for each poll."""
    threads = threading.active_count()
    for _ in range(5):
        client.configure(KEY, api_host=emulator.url)

    assert threading.active_count() == threads
    client.send_odp_event("viewed", WHO)
    assert client.flush(5)


def test_callbacks_hear_of_what_became_of_events(emulator):
    """on_delivery gets what was accepted, on_drop what was not, with the reason."""
    delivered: list[OdpEvent] = []
    dropped: list[tuple[str, str]] = []
    emulator.fault(status=400, match="poison", keep=False)
    client = make(
        emulator,
        on_delivery=delivered.extend,
        on_drop=lambda events, reason: dropped.extend(
            (event.action, reason) for event in events
        ),
    )
    client.send_odp_event("good", WHO)
    client.send_odp_event("poison", WHO)
    client.send_odp_event("better", WHO)

    assert client.close()
    assert sorted(event.action for event in delivered) == ["better", "good"]
    assert [action for action, _ in dropped] == ["poison"]
    assert dropped[0][1].startswith("rejected: ")
    assert client.stats.rejected == {"refused": 1}


def test_overflow_is_told_to_on_drop(emulator, caplog):
    """Events dropped from a full buffer reach on_drop, and are said in one line."""
    dropped: list[str] = []
    emulator.fault(status=503)
    client = make(
        emulator,
        max_queue_size=5,
        shutdown_timeout=0.2,
        on_drop=lambda events, reason: dropped.extend([reason] * len(events)),
    )
    for _ in range(20):
        client.send_odp_event("viewed", WHO)
    client.close()
    emulator.clear_faults()
    assert client.close(10)

    assert client.stats.dropped == {"overflow": 15}
    assert dropped == ["overflow"] * 15
    assert sum("buffer is full" in line for line in said(caplog)) == 1


def test_a_callback_may_do_anything(emulator, caplog):
    """A callback that raises, flushes, closes or logs through us does no harm."""
    client = make(emulator)
    seen: list[object] = []

    def callback(events: Any) -> None:
        seen.append(client.flush(5))
        seen.append(client.close(5))
        client.send_odp_event("again", WHO)
        raise ZeroDivisionError

    client._flusher.reports._on_delivery = callback
    client.send_odp_event("viewed", WHO)

    assert client.flush(5)
    client.close()
    assert seen[0] is False
    assert client.stats.delivered == 1
    assert client.stats.rejected == {"in_callback": 1}
    assert any("callback raised ZeroDivisionError" in line for line in said(caplog))


def test_before_send_changes_or_leaves_out(emulator):
    """before_send may return another event, or None to leave it out, counted."""

    def before_send(event: OdpEvent) -> OdpEvent | None:
        if event.action == "secret":
            return None
        return OdpEvent(event.action, {"vuid": "v"}, data={**event.data, "seen": True})

    client = make(emulator, before_send=before_send)
    client.send_odp_event("secret", WHO)
    client.send_odp_event("viewed", WHO)

    assert client.close()
    (event,) = sent(emulator)
    assert event["identifiers"] == {"vuid": "v"}
    assert event["data"]["seen"] is True
    assert client.stats.dropped == {"before_send": 1}


def test_a_before_send_that_fails_sends_nothing(emulator, caplog):
    """What before_send could not look at is not sent: it may have to be hidden."""

    def before_send(event: OdpEvent) -> Any:
        if event.action == "raise":
            raise ZeroDivisionError
        return "text"

    client = make(emulator, before_send=before_send)
    client.send_odp_event("raise", WHO)
    client.send_odp_event("text", WHO)

    assert client.close()
    assert sent(emulator) == []
    assert client.stats.rejected == {"not_buildable": 1, "bad_before_send": 1}


def test_redact_hides_values_everywhere(emulator):
    """Named data keys are replaced at every depth, whoever set them."""
    client = make(
        emulator, redact=["card"], default_data={"card": "1", "shop": {"card": "2"}}
    )
    client.send_odp_event("viewed", WHO, data={"items": [{"card": "3", "n": 1}]})
    client.send_odp_event("viewed", WHO, data={"card": "4"})

    assert client.close()
    first, second = (each["data"] for each in sent(emulator))
    assert first["card"] == second["card"] == "[redacted]"
    assert first["shop"] == {"card": "[redacted]"}
    assert first["items"] == [{"card": "[redacted]", "n": 1}]


def test_stats_tell_the_whole_story(emulator):
    """stats has counts, requests, the last error and the last success."""
    emulator.fault(status=503, count=1)
    client = make(emulator)
    client.send_odp_event("viewed", WHO, data={"text": "x" * 2000})
    client.send_odp_event("viewed", None)

    assert client.close(10)
    stats = client.stats
    assert (stats.accepted, stats.delivered, stats.pending) == (2, 1, 0)
    assert stats.rejected == {"no_identifiers": 1}
    assert stats.retried >= 1
    assert stats.requests >= 2
    assert stats.batches == 1
    assert stats.adjusted == {"cut": 1}
    assert stats.last_error == f"{emulator.url} answered 503"
    assert stats.last_success is not None


def test_a_server_that_quotes_an_event_is_not_repeated(emulator, caplog):
    """ODP's reason is shown without the identifiers and data it quotes."""
    quoted = '{"detail":{"invalids":[{"event":0,"message":"bad email a@example.com"}]}}'
    emulator.fault(status=400, body=quoted, count=1)
    client = make(emulator)
    client.send_odp_event("viewed", {"email": "a@example.com"})

    assert client.close()
    assert "a@example.com" not in "".join(said(caplog))
    assert "bad email ***" in said(caplog)[0]


def test_one_line_a_minute_for_each_kind(emulator, caplog):
    """A hundred bad events are one line, and all are counted."""
    client = make(emulator)
    for _ in range(100):
        client.send_odp_event("viewed", None)
    client.close()

    assert len(said(caplog)) == 1
    assert client.stats.rejected == {"no_identifiers": 100}


def test_a_new_key_stays_with_the_named_host(emulator):
    """configure(api_key=...) changes the key, and not the host that was named."""
    with Emulator(key="new") as other:
        client = OdpClient("old", api_host=other.url, handle_sigterm=False)
        client.configure("new")
        client.send_odp_event("viewed", WHO)

        assert client.close(5)
        assert len(sent(other)) == 1


def test_a_named_host_waits_for_its_key(emulator):
    """A client made with a host alone sends there once the key is known."""
    client = OdpClient(api_host=emulator.url, handle_sigterm=False)
    client.configure(KEY)
    client.send_odp_event("viewed", WHO)

    assert client.close(5)
    assert len(sent(emulator)) == 1


def test_a_datafile_given_to_configure_beats_the_environment(emulator, monkeypatch):
    """What is passed to configure() counts, whatever the environment says."""
    monkeypatch.setenv("ODP_API_KEY", "from the environment".replace(" ", "-"))
    client = OdpClient(handle_sigterm=False)
    entry = {"key": "odp", "host": emulator.url, "publicKey": KEY}
    client.configure(datafile={"integrations": [entry]})
    client.send_odp_event("viewed", WHO)

    assert client.close(5)
    assert len(sent(emulator)) == 1


def test_a_new_host_alone_keeps_the_key(emulator):
    """configure(api_host=...) moves later events to that host with the same key."""
    client = OdpClient(KEY, handle_sigterm=False)
    client.configure(api_host=emulator.url)
    client.send_odp_event("viewed", WHO)

    assert client.close(5)
    assert len(sent(emulator)) == 1


@pytest.mark.parametrize("background", [True, False])
def test_a_before_send_that_exits_loses_nothing_silently(emulator, background):
    """Even SystemExit within before_send rejects that one event and no other."""

    def before_send(event: OdpEvent) -> OdpEvent:
        if event.data["n"] == 2:
            raise SystemExit
        return event

    client = make(emulator, before_send=before_send, background=background)
    for number in range(5):
        client.send_odp_event("viewed", WHO, data={"n": number})

    assert client.close(5)
    assert [each["data"]["n"] for each in sent(emulator)] == [0, 1, 3, 4]
    assert client.stats.rejected == {"not_buildable": 1}


def test_a_callback_that_exits_does_no_harm(emulator):
    """SystemExit in a callback ends neither the flusher nor the application."""

    def on_delivery(events: Any) -> None:
        raise SystemExit

    client = make(emulator, on_delivery=on_delivery)
    for _ in range(3):
        client.send_odp_event("viewed", WHO)
        assert client.flush(5)

    assert len(sent(emulator)) == 3
    client.close()


def test_before_send_sees_each_event_once(emulator):
    """Neither on_drop nor a full buffer has before_send run again, or without end."""
    seen: list[int] = []
    dropped: list[str] = []

    def before_send(event: OdpEvent) -> OdpEvent | None:
        seen.append(event.data["n"])
        client.send_odp_event("again", WHO, data={"n": -1})
        return event if event.data["n"] % 2 else None

    emulator.fault(status=503)
    client = make(
        emulator,
        max_queue_size=10,
        shutdown_timeout=0.2,
        before_send=before_send,
        on_drop=lambda events, reason: dropped.extend([reason] * len(events)),
    )
    for number in range(40):
        client.send_odp_event("viewed", WHO, data={"n": number})
    client.close()
    emulator.clear_faults()

    assert client.close(10)
    assert len(seen) == len(set(seen))
    assert set(dropped) == {"overflow"}
    assert len(dropped) == client.stats.dropped["overflow"]


def test_redact_reaches_events_made_by_hand(emulator):
    """redact holds for OdpEvents, and for keys that are Enums of text."""

    class Key(str, enum.Enum):
        CARD = "card"

    client = make(emulator, redact=["card"])
    client.send(OdpEvent("viewed", WHO, data={"card": "4111"}))
    client.send_odp_event("viewed", WHO, data={Key.CARD: "4111"})

    assert client.close()
    assert [each["data"]["card"] for each in sent(emulator)] == ["[redacted]"] * 2


def test_waiting_is_forgotten_when_it_ends(emulator):
    """A flush that timed out or was cancelled leaves nothing behind."""
    emulator.fault(status=503)
    client = make(emulator, shutdown_timeout=0.1)
    client.send_odp_event("viewed", WHO)

    async def impatient() -> None:
        for _ in range(20):
            await client.aflush(0)
        task = asyncio.ensure_future(client.aflush(60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(impatient())
    assert not client._flusher.passage.is_awaited()
    emulator.clear_faults()
    assert client.close(10)


def test_impatient_flushes_do_not_storm(emulator):
    """However many threads flush, an outage sees a few requests a second."""
    emulator.fault(status=503)
    client = make(emulator, shutdown_timeout=0.1)
    client.send_odp_event("viewed", WHO)
    end = time.monotonic() + 1.0

    def flush_often() -> None:
        while time.monotonic() < end:
            client.flush(0.02)

    threads = [threading.Thread(target=flush_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(emulator.requests()) <= 12
    emulator.clear_faults()
    assert client.close(10)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, -1, float("nan")])
def test_any_timeout_is_a_timeout(client, timeout):
    """flush and close take any number for a timeout."""
    client.send_odp_event("viewed", WHO)
    client.flush(timeout)
    client.close(timeout)

    assert client.flush(5)


def test_a_closed_client_closes_its_connection(emulator):
    """With the thread ends its connection."""
    client = make(emulator)
    client.send_odp_event("viewed", WHO)
    assert client.close()
    limit = time.monotonic() + 5
    while client._flusher._thread is not None:
        assert time.monotonic() < limit

    assert client._flusher._transport._inner._inner._line is None


def test_an_unusable_timestamp_is_the_time_of_the_call(client, emulator, logger):
    """Where odp_timestamp cannot be read, the record's time is sent, and counted."""
    logger.addHandler(OdpHandler(client=client))
    extra = {"odp_action": "a", "odp_identifiers": WHO, "odp_timestamp": "soon"}
    logger.info("x", extra=extra)

    assert client.flush(5)
    assert abs(sent(emulator)[0]["data"]["ts"] - time.time()) < 60
    assert client.stats.adjusted == {"timestamp": 1}


def test_a_hurried_event_does_not_wait_behind_a_request(emulator, logger):
    """A record at flush_level, logged while a request is under way, follows at once."""
    emulator.fault(latency=0.3, count=1)
    client = make(emulator, flush_interval=60, flush_level="ERROR")
    logger.addHandler(OdpHandler(client=client))
    extra = {"odp_action": "a", "odp_identifiers": WHO}
    logger.error("x", extra=extra)
    limit = time.monotonic() + 10
    while client.stats.state != "sending":
        assert time.monotonic() < limit
    logger.error("x", extra=extra)

    assert emulator.wait_for(2, timeout=10)
    client.close()


@pytest.mark.parametrize(
    "bound", [{"max_queue_size": 5}, {"max_queue_bytes": 20_000}], ids=str
)
def test_blocking_makes_the_flusher_send(emulator, bound):
    """A put that waits for room has somebody make it, long before flush_interval."""
    client = make(
        emulator, overflow="block", block_timeout=10, flush_interval=60, **bound
    )
    for _ in range(40):
        client.send_odp_event("viewed", WHO, data={"text": "x" * 1000})

    assert client.close(10)
    assert client.stats.dropped == {}
    assert len(sent(emulator)) == 40


def test_a_closed_client_is_freed(emulator):
    """An owner whose method is a callback of its client goes when both are let go."""

    class Owner:
        def __init__(self) -> None:
            self.client = make(emulator, on_delivery=self.delivered)

        def delivered(self, events: object) -> None:
            pass

    owner = Owner()
    owner.client.send_odp_event("viewed", WHO)
    assert owner.client.close(5)
    limit = time.monotonic() + 5
    while owner.client._flusher._thread is not None:
        assert time.monotonic() < limit
    left = weakref.ref(owner)
    del owner
    make(emulator).close()  # the next to register has the finished one forgotten
    gc.collect()

    assert left() is None


def test_a_closed_client_is_drained_at_exit_all_the_same(emulator):
    """An event put after close() is known to the end of the process again."""
    client = make(emulator, flush_interval=60)
    client.send_odp_event("viewed", WHO)
    assert client.close(5)
    make(emulator).close()
    client.send_odp_event("viewed", WHO)

    assert flush(5)
    assert len(sent(emulator)) == 2
    client.close()


def test_a_client_that_never_had_a_key_says_what_it_lost(caplog):
    """Dropping an unconfigured client with events in it is said."""
    client = OdpClient(handle_sigterm=False)
    client.send_odp_event("viewed", WHO)
    del client
    gc.collect()

    assert any("never had a key" in line for line in said(caplog)) or any(
        "ODP_API_KEY is not set" in line for line in said(caplog)
    )


def test_without_background_close_closes_the_connection(emulator):
    """A client without a thread lets go of its connection when it is closed."""
    client = make(emulator, background=False)
    client.send_odp_event("viewed", WHO)
    assert client.close(5)

    assert client._flusher._transport._inner._inner._line is None
