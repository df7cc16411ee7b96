"""The API key appears nowhere but in the request's header."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import sys
import traceback
from typing import Any

import pytest

import odp_logging
from odp_logging import ConfigurationError, OdpClient, OdpHandler, OdpProcessor
from odp_logging._cli.doctor.settings import check_settings
from odp_logging._config.destination import derive_api_host
from odp_logging._runtime.secret import Secret
from odp_logging.emulator import Emulator
from odp_logging.optimizely import OdpBridge

SECRET = "W4WzcEs-ABgXorzY7h1LCQ"
PACKAGE = os.path.dirname(odp_logging.__file__) + os.sep
DATAFILE = {
    "integrations": [{"key": "odp", "host": "https://odp.example", "publicKey": SECRET}]
}


def everything_of(thing: Any) -> list[Any]:
    """Return what a debugger, or a curious library, would show of *thing*."""
    shown = [repr(thing), str(thing), f"{thing!a}"]
    if hasattr(thing, "__dict__"):
        shown.append(repr(vars(thing)))
        shown += [
            repr(vars(each))
            for each in vars(thing).values()
            if hasattr(each, "__dict__")
        ]
    return shown


@pytest.mark.parametrize("given", [{"api_key": SECRET}, {"datafile": DATAFILE}])
@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
def test_nothing_shows_the_key(kind, given):
    """repr, str and vars of handler, processor, client, config and parts are clean."""
    thing = kind(**given)
    client = thing if kind is OdpClient else thing.client

    for each in (thing, client, client._config, client._config.destination()):
        assert SECRET not in "".join(everything_of(each))
    dispatcher = client._destinations.flusher._dispatcher
    dispatcher.prepare()
    parts = [
        client._destinations.flusher,
        client._destinations.flusher.store,
        dispatcher,
    ]
    parallel = dispatcher._transport
    lanes = [parallel._first, *[lane._transport for lane in parallel._other_lanes]]
    parts += [
        parallel,
        *parallel._other_lanes,
        *lanes,
        *[lane._inner for lane in lanes],
        *[lane._inner._inner for lane in lanes],
    ]
    assert SECRET not in "".join("".join(everything_of(part)) for part in parts)


@pytest.mark.parametrize(
    "end", ["\x1b[2J", "a\nbc", "\udca1\udca1\udca1\udca1", "äöüß"]
)
def test_a_secret_shows_printable_text_alone(end):
    """The last characters of a key are not shown where they could not be printed."""
    assert repr(Secret(f"{SECRET}{end}")) == "…"


@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
def test_pickles_carry_settings_without_the_key(kind, monkeypatch):
    """What goes to a spawned process has the settings; the key comes from there."""
    thing = kind(api_key=SECRET, max_batch_size=7)
    pickled = pickle.dumps(thing)
    monkeypatch.setenv("ODP_API_KEY", "its-own")
    again = pickle.loads(pickled)
    client = again if kind is OdpClient else again.client

    assert SECRET.encode() not in pickled
    assert client._config.max_batch_size == 7
    assert client._config.api_key == Secret("its-own")


def test_a_copy_of_a_handler_shows_no_key():
    """A copy shares the client, and what it is pickled into has no key."""
    other = copy.copy(OdpHandler(SECRET))

    assert SECRET not in repr(vars(other))
    assert SECRET.encode() not in pickle.dumps(other)


@pytest.mark.parametrize(
    "thing", [Secret(SECRET), OdpClient(SECRET)._config, [Secret(SECRET)]]
)
def test_secrets_and_configs_are_not_pickled(thing):
    """A pickle of what holds the key is refused."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(thing)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": SECRET, "max_batchsize": 5},
        {"apikey": SECRET},
        {"api_host": SECRET},
        {"api_key": SECRET, "max_batch_size": 0},
        {"api_key": f"{SECRET}\nmore"},
        {"api_key": f"${{NO_SUCH}}{SECRET}"},
        {"datafile": DATAFILE, "timeout": -1},
        {"datafile": '{"publicKey": "' + SECRET + '", broken'},
        {"datafile": f'["{SECRET}"]'.encode()},
        {"datafile": [SECRET]},
        {
            "datafile": {
                "integrations": [
                    {**DATAFILE["integrations"][0], "publicKey": f"{SECRET} more"}
                ]
            }
        },
        {"datafile": {"integrations": [{**DATAFILE["integrations"][0], "host": "no"}]}},
    ],
)
@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
def test_tracebacks_with_locals_do_not_show_the_key(kind, settings):
    """An error about a setting, printed with local variables, shows no key of ours."""

    def construct(given: dict[str, Any]) -> None:
        kind(**given)

    with pytest.raises(ConfigurationError) as caught:
        construct(settings)
    frames = our_frames(caught.value)
    assert frames
    assert SECRET not in "".join(frames)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "construct",
    [
        lambda: OdpProcessor(SECRET),
        lambda: OdpProcessor(client=SECRET.encode()),
        lambda: OdpHandler(client=SECRET),
        lambda: OdpHandler(client=SECRET, max_batch_size=5),
        lambda: OdpBridge(SECRET),
    ],
)
def test_a_key_in_the_place_of_a_client_is_not_shown(construct):
    """A key that is given as client= is in no frame of the error that it raises."""
    with pytest.raises(ConfigurationError, match="a key goes to api_key=") as caught:
        construct()

    frames = our_frames(caught.value)
    assert frames
    assert SECRET not in "".join(frames)


def test_no_frame_shows_the_key_while_it_is_used(tmp_path):
    """What a client makes of the key (account, region) shows no key at any time."""
    shown: list[str] = []

    def look(frame: Any, event: str, _: object) -> None:
        mine = frame.f_code.co_filename.startswith(PACKAGE)
        if mine and frame.f_code is not Secret.__init__.__code__:
            shown.append(f"{frame.f_code.co_name} {frame.f_locals}")

    client = OdpClient(SECRET, spool=tmp_path, enabled=False)
    destination = client._config.destination()
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        assert destination.fingerprint and derive_api_host(destination.api_key)
        found = [*check_settings(client._config)]
    finally:
        sys.setprofile(before)

    assert found
    assert not [text for text in shown if SECRET in text]


def our_frames(error: BaseException) -> list[str]:
    """Return what a traceback with local variables shows of our own frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return [
        f"{frame.name} {frame.locals}"
        for exception in (shown, shown.__context__)
        if exception is not None
        for frame in exception.stack
        if frame.filename.startswith(PACKAGE)
    ]


def test_no_log_at_any_level_shows_key_identifier_or_payload(caplog):
    """With every logger at DEBUG, faults included, nothing private is logged."""
    caplog.set_level(logging.DEBUG)
    with Emulator(key="another key") as emulator:
        emulator.fault(status=503, count=1)
        client = OdpClient(SECRET, api_host=emulator.url, shutdown_timeout=2.0)
        client.send_odp_event(
            "viewed", {"email": "a@example.com"}, data={"card": "4111-1111"}
        )
        client.send_odp_event(
            "", {"email": "a@example.com"}, data={"card": "4111-1111"}
        )
        client.flush(1.5)
        assert client.stats.state in ("misconfigured", "retrying")
        client._destinations.flusher.abandon("test")

    text = caplog.text + "".join(str(vars(each)) for each in caplog.records)
    assert "urllib3" not in text
    assert "answered 403" in text
    for private in (SECRET, "a@example.com", "4111-1111"):
        assert private not in text


def test_a_short_secret_shows_nothing():
    """Of a short key not even the last four characters are shown."""
    assert repr(Secret("short")) == "…"
    assert repr(Secret(SECRET)) == "…1LCQ"
    assert repr(Secret({"publicKey": SECRET})) == "…"
