"""OdpBridge with the real optimizely-sdk: what it sends, and where, and when."""

from __future__ import annotations

import copy
import inspect
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

pytest.importorskip("optimizely.odp")

from optimizely.config_manager import PollingConfigManager
from optimizely.helpers.sdk_settings import OptimizelySdkSettings
from optimizely.odp.odp_event import OdpEvent as SdkEvent
from optimizely.odp.odp_event_manager import OdpEventManager
from optimizely.optimizely import Optimizely

from odp_logging import ConfigurationError, OdpClient, OdpHandler, bound_identifiers
from odp_logging.emulator import Emulator
from odp_logging.optimizely import OdpBridge, bind_user, bound_user, settings_from

from ..conftest import KEY
from ..datafiles import datafile, served
from ..emulated import list_events, list_warnings
from ..interpreter import run_code
from ..journeys.pythons import Python
from ..waiting import until

OTHER = "another-key-that-nobody-may-see"
WHO = {"fs_user_id": "u1", "email": "a@example.com"}
OLD_IDENTIFY = "user_id" in inspect.signature(OdpEventManager.identify_user).parameters


@contextmanager
def sdk(
    text: str, bridge: OdpBridge | None = None, **given: Any
) -> Iterator[Optimizely]:
    """Make a real client, with *bridge* or as it is delivered, and close it."""
    settings = OptimizelySdkSettings(odp_event_manager=bridge)
    if "config_manager" not in given:
        given["datafile"] = text
    made = Optimizely(settings=settings, **given)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def bridged(text: str, **settings: Any) -> Iterator[tuple[Optimizely, OdpBridge]]:
    """Make a real client with a bridge that is attached."""
    bridge = OdpBridge(handle_sigterm=False, **settings)
    with sdk(text, bridge) as made:
        bridge.attach(made)
        yield made, bridge


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "as documented": (
        ("purchased", WHO, "fullstack", {"item": "shirt", "price": 50.0}),
        {},
    ),
    "by name": ((), {"action": "viewed", "identifiers": WHO, "type": "product"}),
    "no type": (("viewed", WHO, None), {}),
    "empty type": (("viewed", WHO, ""), {}),
    "no data": (("viewed", WHO, "product", None), {}),
    "every kind of value": (
        ("a", WHO, "t", {"s": "", "i": -1, "f": 0.5, "t": True, "n": None}),
        {},
    ),
    "default data overridden": (
        ("a", WHO, "t", {"data_source_type": "crm", "idempotence_id": "mine"}),
        {},
    ),
    "own time": (("a", WHO, "t", {"ts": 1291191960}), {}),
    "other text": (("kauft", {"email": "ä@example.com"}, "t", {"x": "中文 🙂"}), {}),
    "FS_USER_ID": (("a", {"FS_USER_ID": "u1", "email": "b@example.com"}), {}),
    "fs-user-id": (("a", {"fs-user-id": "u1"}), {}),
    "own identifier": (("a", {"customer_number": "17850"}), {}),
    "spaces kept": (("a b", {"email": " c@example.com "}, " t ", {" k ": " v "}), {}),
}


@pytest.mark.parametrize("attach", [True, False], ids=["attached", "plain"])
@pytest.mark.parametrize("name", CALLS)
def test_what_the_sdk_sends_is_sent(name, attach, emulator):
    """For the same call, type, action, identifiers and data are those of the SDK."""
    arguments, named = CALLS[name]
    with Emulator(key=KEY) as theirs, sdk(datafile(theirs.url)) as original:
        original.send_odp_event(*copy.deepcopy(arguments), **copy.deepcopy(named))
        original.close()
        (expected,) = list_events(theirs)
    bridge = OdpBridge(handle_sigterm=False)
    with sdk(datafile(emulator.url), bridge) as ours:
        if attach:
            bridge.attach(ours)
        ours.send_odp_event(*arguments, **named)
    (event,) = list_events(emulator)

    for key in ("type", "action", "identifiers"):
        assert event[key] == expected[key]
    assert event["data"].keys() == expected["data"].keys() | {"ts"}
    free = {"idempotence_id", "data_source", "data_source_version", "ts"}
    given = (
        (named.get("data") or {}) if named else dict([*arguments, {}, {}, {}][3] or {})
    )
    for key in expected["data"].keys() - (free - given.keys()):
        assert event["data"][key] == expected["data"][key]
    assert event["data"]["data_source"] == "odp-logging"
    assert len(event["data"]["idempotence_id"]) in (len("mine"), 36)


@pytest.mark.skipif(OLD_IDENTIFY, reason="before 5.6 the SDK identifies by one id")
@pytest.mark.parametrize(
    "identifiers",
    [WHO, {"fs_user_id": "u1"}, {"fs_user_id": "u1", "vuid": ""}, {"fs-user-id": "u"}],
)
def test_identified_is_sent_as_the_sdk_does(identifiers, emulator, caplog):
    """``identified`` needs two identifiers that are not empty, in both."""
    with Emulator(key=KEY) as theirs, sdk(datafile(theirs.url)) as original:
        original._identify_user(dict(identifiers))
        original.close()
        expected = [
            (e["type"], e["action"], e["identifiers"]) for e in list_events(theirs)
        ]
    with bridged(datafile(emulator.url)) as (ours, _):
        ours._identify_user(dict(identifiers))
    found = [(e["type"], e["action"], e["identifiers"]) for e in list_events(emulator)]

    assert found == expected
    assert list_warnings(caplog) == []


def test_a_user_context_sends_no_event_for_one_identifier(emulator, caplog):
    """create_user_context alone sends nothing and says nothing, in any SDK."""
    with bridged(datafile(emulator.url)) as (ours, bridge):
        assert ours.create_user_context("u1").user_id == "u1"
        bridge.identify_user("u1")  # as the SDK calls it before 5.6

    assert (list_events(emulator), bridge.client.stats.accepted) == ([], 0)
    assert list_warnings(caplog) == []


def test_an_event_the_sdk_made_is_sent(emulator):
    """dispatch takes the SDK's own event, id and data source included."""
    with bridged(datafile(emulator.url)) as (_, bridge):
        made = SdkEvent("product", "viewed", dict(WHO), {"n": 1})
        bridge.dispatch(made)
        assert bridge.flush(5)
    (event,) = list_events(emulator)

    assert event["data"]["idempotence_id"] == made.data["idempotence_id"]
    assert event["data"]["data_source"] == "python-sdk"


@pytest.mark.parametrize("attach", [True, False])
def test_the_callers_dicts_stay_as_they_are(attach, emulator):
    """The SDK renames a key in the dict it is given; we do not."""
    theirs, ours = {"FS-USER-ID": "u1"}, {"FS-USER-ID": "u1"}
    with sdk(datafile(emulator.url)) as original:
        original.send_odp_event("a", theirs)
    bridge = OdpBridge(handle_sigterm=False)
    with sdk(datafile(emulator.url), bridge) as client:
        if attach:
            bridge.attach(client)
        client.send_odp_event("a", ours)

    assert theirs != ours == {"FS-USER-ID": "u1"}
    assert [e["identifiers"] for e in list_events(emulator)] == [
        {"fs_user_id": "u1"}
    ] * 2


NESTED = {"products": [{"product_id": "1", "quantity": 2}], "at": {"x": 1}}


def test_nested_data_is_sent(emulator):
    """The SDK drops an event with nested data; attached, it is sent."""
    with sdk(datafile(emulator.url)) as original:
        original.send_odp_event("purchase", WHO, "order", NESTED)
    assert list_events(emulator) == []
    with bridged(datafile(emulator.url)) as (client, _):
        client.send_odp_event("purchase", WHO, "order", NESTED)
    (event,) = list_events(emulator)

    assert {key: event["data"][key] for key in NESTED} == NESTED


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("", WHO), "no_action"),
        ((None, WHO), "no_action"),
        (("a", {}), "no_identifiers"),
        (("a", None), "no_identifiers"),
        (("a", ["u1"]), "bad_identifiers"),
    ],
)
def test_what_the_sdk_drops_in_silence_is_counted(arguments, reason, emulator, caplog):
    """What ODP could not store is rejected, and named with the place of the call."""
    with bridged(datafile(emulator.url)) as (client, bridge):
        client.send_odp_event(*arguments)

    assert bridge.client.stats.rejected == {reason: 1}
    assert len(list_warnings(caplog)) == 1
    assert list_warnings(caplog)[0].startswith(f"{__file__}:")


def test_a_rejection_behind_the_sdk_names_the_caller(emulator, caplog):
    """Without attach, too, the line named is the application's, not the SDK's."""
    bridge = OdpBridge(handle_sigterm=False)
    with sdk(datafile(emulator.url), bridge) as client:
        client.send_odp_event("a", {"email": ""})

    assert bridge.client.stats.rejected == {"no_identifiers": 1}
    assert list_warnings(caplog)[0].startswith(f"{__file__}:")


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_sdk_gives_up_is_delivered(status, emulator):
    """Where ODP answers 429 or is down for a while, the events arrive all the same."""
    emulator.fault(status=status, count=2, retry_after=0.05)
    with bridged(datafile(emulator.url)) as (client, bridge):
        for number in range(3):
            client.send_odp_event("a", WHO, data={"n": number})
        assert bridge.flush(20)

    assert [event["data"]["n"] for event in list_events(emulator)] == [0, 1, 2]
    assert bridge.client.stats.delivered == bridge.client.stats.accepted == 3


def test_the_sdk_gives_up_on_429(emulator):
    """The unmodified SDK drops what ODP is too busy for."""
    emulator.fault(status=429, count=1)
    with sdk(datafile(emulator.url)) as client:
        client.send_odp_event("a", WHO)

    assert list_events(emulator) == []


def test_stop_is_bounded_and_no_end(emulator):
    """close() waits for shutdown_timeout at most; what is left, and later, is sent."""
    emulator.fault(latency=60)
    with bridged(datafile(emulator.url), shutdown_timeout=0.2, timeout=1) as (
        client,
        bridge,
    ):
        client.send_odp_event("a", WHO)
        before = time.monotonic()
        client.close()
        assert time.monotonic() - before < 5
        assert (bridge.is_running, bridge.client.stats.delivered) == (False, 0)
        emulator.clear_faults()
        client.send_odp_event("b", WHO)
        assert bridge.flush(20)

    assert {event["action"] for event in list_events(emulator)} == {"a", "b"}


def test_a_given_client_is_shared(emulator, logger):
    """A handler's client follows the datafile, and both send through it."""
    handler = OdpHandler(handle_sigterm=False)
    logger.addHandler(handler)
    logger.info("early", extra={"odp_action": "early", "odp_identifiers": WHO})
    bridge = OdpBridge(handler.client)
    with sdk(datafile(emulator.url), bridge) as client:
        client.send_odp_event("direct", WHO)
        logger.info("late", extra={"odp_action": "late", "odp_identifiers": WHO})

    assert [e["action"] for e in list_events(emulator)] == ["early", "direct", "late"]


# Processes.

HERE = Python(platform.python_version(), sys.executable)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status"), [("exit", 0), ("exception", 1), ("sigterm", -signal.SIGTERM)]
)
def test_the_end_of_a_process_delivers(how, status, emulator):
    """Exit, an uncaught exception and SIGTERM deliver without a close()."""
    with HERE.start("optimizely_bridge.py", datafile(emulator.url), how) as running:
        if how == "sigterm":
            assert running.read_line() == "ready"
            running.process.send_signal(signal.SIGTERM)
        ended = running.end()

    assert (ended.status, "odp_logging:" in ended.err) == (status, False)
    assert [event["data"]["n"] for event in list_events(emulator)] == [0, 1, 2]


@pytest.mark.slow
def test_a_fork_sends_each_event_once(emulator):
    """A child's events arrive once, and so do its parent's."""
    ended = HERE.run("optimizely_bridge.py", datafile(emulator.url), "fork")
    found = {
        event["data"]["n"]: event["data"]["pid"] for event in list_events(emulator)
    }

    assert ended.status == 0, ended.err
    assert sorted(found) == [0, 1, 2]
    assert found[0] == found[2] != found[1]
    assert emulator.stats()["duplicates"] == 0


@pytest.mark.slow
def test_the_unmodified_sdk_loses_events_at_exit(emulator):
    """What the bridge is for: without close(), the SDK sends nothing at the end."""
    ended = HERE.run("optimizely_bridge.py", datafile(emulator.url), "unmodified")

    assert (ended.status, list_events(emulator)) == (0, [])


# Where events go.


@contextmanager
def polling(text: str) -> Iterator[tuple[Any, PollingConfigManager]]:
    """Serve a datafile, and have a real config manager ask for it all the time."""
    with served(text) as shelf:
        manager = PollingConfigManager(
            sdk_key="polled", url=shelf.url, update_interval=0.02
        )
        try:
            yield shelf, manager
        finally:
            manager.stop()
            manager._polling_thread.join(10)


def test_a_changed_datafile_is_followed(emulator):
    """New events go to the new account; those from before never do."""
    old = Emulator(key=OTHER).start()
    with polling(datafile(old.url, OTHER)) as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False, flush_interval=0.01)
        with sdk("", bridge, config_manager=manager) as client:
            bridge.attach(client)
            until(lambda: bridge.is_running)
            client.send_odp_event("first", WHO)
            assert bridge.flush(10)
            old.stop()
            client.send_odp_event("second", WHO)
            shelf.text = datafile(emulator.url)
            until(lambda: emulator.url in repr(bridge.client))
            client.send_odp_event("third", WHO)
            assert emulator.wait_for(1)
            old.start()
            assert bridge.flush(20)
            old.stop()

    assert [event["action"] for event in list_events(old)] == ["first", "second"]
    assert [event["action"] for event in list_events(emulator)] == ["third"]
    assert bridge.client.stats.delivered == bridge.client.stats.accepted == 3


@pytest.mark.parametrize("kind", ["static", "polling"])
@pytest.mark.parametrize("spool", [False, True])
def test_without_an_integration_events_are_dropped(kind, spool, tmp_path, caplog):
    """As by the SDK: one warning, all of them counted, nothing held for the exit."""
    given: dict[str, Any] = {"spool": tmp_path} if spool else {}
    bridge = OdpBridge(handle_sigterm=False, **given)
    with ExitStack() as stack:
        manager = None
        if kind == "polling":
            manager = stack.enter_context(polling(datafile(None)))[1]
            manager.get_config()
        named = {"config_manager": manager} if manager else {}
        client = stack.enter_context(sdk(datafile(None), bridge, **named))
        bridge.attach(client)
        for number in range(3):
            client.send_odp_event("a", WHO, data={"n": number})
        stats = bridge.client.stats

    assert (stats.accepted, stats.pending, stats.spooled) == (3, 0, 0)
    assert stats.rejected == {"not_integrated": 3}
    (line,) = list_warnings(caplog)
    assert line.startswith("the Optimizely datafile names no ODP integration; events")


def test_without_an_event_a_missing_integration_is_no_news(caplog):
    """A datafile may have no ODP on purpose."""
    with bridged(datafile(None)) as (client, _):
        client.create_user_context("u1")

    assert list_warnings(caplog) == []


def test_events_held_for_a_datafile_without_an_integration_are_dropped(caplog):
    """What came before the first datafile is dropped with it, counted, and said."""
    with polling("") as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False)
        with sdk("", bridge, config_manager=manager) as client:
            bridge.attach(client)
            for _ in range(2):
                client.send_odp_event("early", WHO)
            assert bridge.client.stats.pending == 2
            shelf.text = datafile(None)
            until(lambda: bridge.client.stats.pending == 0)
            until(lambda: len(list_warnings(caplog)) == 2)
            client.send_odp_event("late", WHO)
            stats = bridge.client.stats

    assert stats.dropped == {"not_integrated": 2}
    assert stats.rejected == {"not_integrated": 1}
    first, second = list_warnings(caplog)
    assert "has not been loaded yet; up to 64 MiB of events are kept" in first
    assert "names no ODP integration; events are dropped" in second


def test_an_integration_that_comes_later_gets_later_events(emulator, caplog):
    """Switched on in Optimizely, it is followed without a restart."""
    with polling(datafile(None)) as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False)
        manager.get_config()
        with sdk("", bridge, config_manager=manager) as client:
            bridge.attach(client)
            client.send_odp_event("dropped", WHO)
            shelf.text = datafile(emulator.url)
            until(lambda: bridge.client._destinations.current is not None)
            client.send_odp_event("sent", WHO)
            assert emulator.wait_for(1)
            stats = bridge.client.stats

    assert [event["action"] for event in list_events(emulator)] == ["sent"]
    assert stats.accepted == 2


def test_an_integration_taken_out_drops_events(emulator, caplog):
    """Where the datafile loses ODP, later events are dropped until it names another."""
    with polling(datafile(emulator.url)) as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False)
        with (
            Emulator(key=OTHER) as other,
            sdk("", bridge, config_manager=manager) as client,
        ):
            bridge.attach(client)
            until(lambda: bridge.is_running)
            client.send_odp_event("before", WHO)
            shelf.text = datafile(None)
            until(lambda: bridge.client.stats.state == "unconfigured")
            client.send_odp_event("between", WHO)
            assert emulator.wait_for(1)
            shelf.text = datafile(other.url, OTHER)
            until(lambda: bridge.client._destinations.current is not None)
            client.send_odp_event("after", WHO)
            assert other.wait_for(1)
            until(lambda: bridge.client.stats.pending == 0)
            stats = bridge.client.stats

    assert [event["action"] for event in list_events(emulator)] == ["before"]
    assert [event["action"] for event in list_events(other)] == ["after"]
    assert (stats.delivered, stats.rejected) == (2, {"not_integrated": 1})
    assert len(list_warnings(caplog)) == 1


def test_an_integration_taken_out_is_said_unless_attached(emulator, caplog):
    """Not attached, the SDK drops events in silence: then we say so."""
    with polling(datafile(emulator.url)) as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False)
        with sdk("", bridge, config_manager=manager):
            until(lambda: bridge.is_running)
            shelf.text = datafile(None)
            until(lambda: bridge.client.stats.state == "unconfigured")
            until(lambda: bool(list_warnings(caplog)))

    assert "Call OdpBridge.attach() to have them counted" in list_warnings(caplog)[0]


@pytest.mark.slow
def test_an_integration_left_out_on_purpose_is_quiet_at_the_exit() -> None:
    """Nothing is reported as lost: it was counted when it was dropped."""
    program = (
        "import sys\n"
        "from optimizely.helpers.sdk_settings import OptimizelySdkSettings\n"
        "from optimizely.optimizely import Optimizely\n"
        "from odp_logging.optimizely import OdpBridge\n"
        "bridge = OdpBridge()\n"
        "settings = OptimizelySdkSettings(odp_event_manager=bridge)\n"
        "client = Optimizely(sys.argv[1], settings=settings)\n"
        "bridge.attach(client)\n"
        "for _ in range(100): client.send_odp_event('a', {'fs_user_id': 'u'})\n"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
    done = subprocess.run(
        [sys.executable, "-c", program, datafile(None)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "events are dropped, as by the SDK" in done.stderr


def test_events_before_the_first_datafile_wait(emulator):
    """Attached, nobody waits for a datafile that has not come: the events do."""
    with polling("") as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False)
        with sdk("", bridge, config_manager=manager) as client:
            bridge.attach(client)
            before = time.monotonic()
            client.send_odp_event("early", WHO)
            assert time.monotonic() - before < 5  # the SDK's own waits for 10
            shelf.text = datafile(emulator.url)
            assert emulator.wait_for(1, 20)


def test_a_bad_host_in_the_datafile_is_said(emulator, caplog):
    """A host we may not send to raises nothing; later events wait, and none leaves."""
    with polling(datafile(emulator.url)) as (shelf, manager):
        bridge = OdpBridge(handle_sigterm=False)
        with sdk("", bridge, config_manager=manager) as client:
            bridge.attach(client)
            until(lambda: bridge.is_running)
            client.send_odp_event("good", WHO)
            assert bridge.flush(10)
            shelf.text = datafile("http://odp.example.com")
            until(lambda: bridge.client.stats.state == "unconfigured")
            client.send_odp_event("held", WHO)
            until(lambda: len(list_warnings(caplog)) == 2)
            shelf.text = datafile(emulator.url)
            assert emulator.wait_for(2)

    assert (
        "host in the datafile='http://odp.example.com' cannot"
        in list_warnings(caplog)[0]
    )
    assert KEY not in caplog.text


@pytest.mark.parametrize("how", ["keyword", "environment", "configure"])
def test_an_own_key_beats_the_datafile(how, emulator, caplog, monkeypatch):
    """A key that was set stays, and that the datafile has another one is said."""
    if how == "environment":
        monkeypatch.setenv("ODP_API_KEY", KEY)
        monkeypatch.setenv("ODP_API_HOST", emulator.url)
        client = OdpClient(handle_sigterm=False)
    elif how == "keyword":
        client = OdpClient(KEY, api_host=emulator.url, handle_sigterm=False)
    else:
        client = OdpClient(handle_sigterm=False)
        client.configure(KEY, api_host=emulator.url)
    bridge = OdpBridge(client)
    with Emulator(key=OTHER) as other:
        with sdk(datafile(other.url, OTHER), bridge) as optimizely:
            optimizely.send_odp_event("a", WHO)
        assert list_events(other) == []

    assert len(list_events(emulator)) == 1
    (line,) = list_warnings(caplog)
    assert "another ODP key than the one that was set" in line
    assert KEY not in line and OTHER not in line


def test_an_own_key_that_is_the_datafiles_is_no_news(emulator, caplog):
    """Where both name the same key, nothing is said."""
    client = OdpClient(handle_sigterm=False)
    client.configure(KEY, api_host=emulator.url)
    with sdk(datafile(emulator.url), OdpBridge(client)) as optimizely:
        optimizely.send_odp_event("a", WHO)

    assert len(list_events(emulator)) == 1
    assert list_warnings(caplog) == []


def test_an_own_host_beats_the_datafile(emulator):
    """A host that was set stays; the key follows the datafile."""
    bridge = OdpBridge(api_host=emulator.url, handle_sigterm=False)
    with sdk(datafile("https://api.zaius.com"), bridge) as client:
        client.send_odp_event("a", WHO)

    assert len(list_events(emulator)) == 1


def test_a_clients_own_datafile_is_followed(emulator):
    """What a client read from a datafile gives way to what the SDK reads later."""
    client = OdpClient(
        datafile=datafile("http://127.0.0.1:9", OTHER), handle_sigterm=False
    )
    with sdk(datafile(emulator.url), OdpBridge(client)) as optimizely:
        optimizely.send_odp_event("a", WHO)

    assert len(list_events(emulator)) == 1


def test_odp_disabled_means_that(emulator):
    """With odp_disabled nothing is sent, attached or not."""
    bridge = OdpBridge(handle_sigterm=False)
    settings = OptimizelySdkSettings(odp_disabled=True, odp_event_manager=bridge)
    client = Optimizely(datafile(emulator.url), settings=settings)
    bridge.attach(client)
    client.send_odp_event("a", WHO)
    client.close()

    assert (bridge.client.stats.accepted, list_events(emulator)) == (0, [])


def test_attach_names_a_client_of_another_bridge(emulator):
    """attach() raises for a client that was made without this bridge."""
    with (
        sdk(datafile(emulator.url)) as client,
        pytest.raises(ConfigurationError, match=r"was created with this bridge; give"),
    ):
        OdpBridge().attach(client)


def test_the_sdk_takes_it_for_an_event_manager(emulator):
    """All that the SDK's own event manager lets others call is there."""
    theirs = {name for name in dir(OdpEventManager) if not name.startswith("_")}

    assert theirs <= set(dir(OdpBridge))


# Settings, and who it is about.


def test_settings_from(emulator, tmp_path):
    """A client, its config manager, a path, JSON and a dict give key and host."""
    text = datafile(emulator.url)
    path = tmp_path / "datafile.json"
    path.write_text(text)
    with sdk(text) as client:
        found = [
            settings_from(each)
            for each in (client, client.config_manager, path, str(path), text)
        ]
    with OdpClient(handle_sigterm=False, **found[0]) as made:
        made.send_odp_event("a", WHO)

    assert all(each == found[0] for each in found)
    assert found[0]["api_host"] == emulator.url
    assert KEY not in repr(found)
    assert len(list_events(emulator)) == 1


def test_settings_from_a_datafile_without_odp():
    """Without an integration there are no settings; what is no datafile raises."""
    with sdk(datafile(None)) as client:
        assert settings_from(client) == settings_from(datafile(None)) == {}
    with pytest.raises(ConfigurationError, match="datafile cannot be read"):
        settings_from("/no/such/file.json")


def test_a_user_is_bound(emulator, client, logger):
    """bind_user and bound_user bind the id, the vuid, and the attributes named."""
    logger.addHandler(OdpHandler(client=client))
    with sdk(datafile(None)) as optimizely:
        plain = optimizely.create_user_context("u1")
        attributes = {"vuid": "v1", "mail": "a@example.com", "plan": "gold"}
        rich = optimizely.create_user_context("u2", attributes)
        with bound_user(rich, email="mail", phone="mobile"):
            logger.info("x", extra={"odp_action": "a"})
        bind_user(plain)
        logger.info("x", extra={"odp_action": "b"})
        with bound_identifiers(email="b@example.com"):
            logger.info("x", extra={"odp_action": "c"})
    assert client.flush(5)

    assert [event["identifiers"] for event in list_events(emulator)] == [
        {"fs_user_id": "u2", "vuid": "v1", "email": "a@example.com"},
        {"fs_user_id": "u1"},
        {"fs_user_id": "u1", "email": "b@example.com"},
    ]


def experiment() -> dict[str, Any]:
    """Return the parts of a datafile with one flag, on for everybody."""
    traffic = [{"entityId": "v1", "endOfRange": 10000}]
    rule = {
        "id": "e1",
        "key": "summer",
        "status": "Running",
        "layerId": "l1",
        "audienceIds": [],
        "forcedVariations": {},
        "trafficAllocation": traffic,
        "variations": [{"id": "v1", "key": "blue", "featureEnabled": True}],
    }
    flag = {"id": "f1", "key": "sale", "experimentIds": ["e1"], "rolloutId": ""}
    return {"experiments": [rule], "featureFlags": [{**flag, "variables": []}]}


class NoImpressions:
    """Does not send Optimizely's own events anywhere."""

    @staticmethod
    def dispatch_event(event: object) -> None:
        """Leave it."""


@pytest.mark.parametrize("wanted", [True, False])
def test_decisions_are_sent_if_asked_for(wanted, emulator):
    """A flag's decision is an event where it is an impression, and was asked for."""
    bridge = OdpBridge(handle_sigterm=False)
    text = datafile(emulator.url, **experiment())
    with sdk(text, bridge, event_dispatcher=NoImpressions) as client:
        bridge.attach(client, decisions=wanted)
        user = client.create_user_context("u1")
        assert user.decide("sale").variation_key == "blue"
        user.decide("sale", ["DISABLE_DECISION_EVENT"])
        user.decide("unknown")

    found = list_events(emulator)
    assert len(found) == wanted
    for event in found:
        assert (event["type"], event["action"]) == ("experimentation", "decision")
        assert event["identifiers"] == {"fs_user_id": "u1"}
        assert (
            event["data"].items()
            >= {
                "flag_key": "sale",
                "rule_key": "summer",
                "variation_key": "blue",
                "enabled": True,
            }.items()
        )


@pytest.mark.parametrize("call", [OdpBridge, settings_from], ids=["bridge", "from"])
@pytest.mark.parametrize(
    "given",
    [f"[{KEY!r}", {"integrations": {KEY: 1}}, [KEY]],
    ids=["text", "dict", "list"],  # the environment shows them, and a traceback that
)
def test_no_error_shows_the_key(call, given):
    """A datafile that cannot be used is no reason to show what it holds."""
    try:
        call(datafile=given, timeout=-1) if call is OdpBridge else call(given)
    except ConfigurationError as error:
        lines = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [f for f in lines.stack if f"{os.sep}odp_logging{os.sep}" in f.filename]
        assert ours
        assert KEY not in str([(frame.name, frame.locals) for frame in ours])
        assert KEY not in str(error)


# What it takes.


@pytest.mark.parametrize(
    ("module", "missing", "requirement"),
    [
        ("optimizely", "optimizely", "optimizely-sdk>=5.1"),
        ("optimizely", "optimizely.odp", "optimizely-sdk>=5.1"),
        ("prometheus", "prometheus_client", "prometheus-client>=0.20"),
        ("opentelemetry", "opentelemetry", "opentelemetry-api>=1.27"),
    ],
)
def test_a_missing_package_is_named(module, missing, requirement):
    """Without the extra's package, one line says what to install."""
    words = run_code(
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"try: import odp_logging.{module}\n"
        "except ImportError as error: print(error, error.__cause__)"
    )
    line = " ".join(words)

    assert f"or newer; pip install '{requirement}' (odp-logging's extra " in line
    assert line.endswith(") None")
    assert line.startswith(f"odp_logging.{module} needs ")


def test_what_goes_wrong_within_the_sdk_is_not_hidden():
    """An import that fails for want of something else says what that is."""
    words = run_code(
        "import sys, types\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'optimizely': raise ImportError('boom', name='attr')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "try: import odp_logging.optimizely\n"
        "except ImportError as error: print(error)"
    )

    assert words == ["boom"]


def test_a_copy_of_a_bridge_is_the_bridge():
    """Settings of the SDK that are copied keep the bridge, and its client."""
    with OdpClient("k", handle_sigterm=False) as client:
        bridge = OdpBridge(client=client)

        assert copy.copy(bridge) is bridge
        assert copy.deepcopy({"bridge": bridge})["bridge"] is bridge
