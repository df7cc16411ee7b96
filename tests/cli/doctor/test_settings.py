"""The doctor finds mistakes in settings and environment."""

from __future__ import annotations

import pytest

from odp_logging._cli.doctor.settings import check_environment

from ...conftest import KEY
from .conftest import add_handler, get_finding, list_kinds

NOT_ASKED = "; whether ODP accepts it is asked with --send"


def test_a_complete_setup_has_no_problem(environment, emulator, doctor):
    """With key, host and a handler there is no problem, and nothing is sent."""
    add_handler()
    status, found = doctor()

    assert status == 0
    assert get_finding(found, "key") == (
        "ok",
        f"the key …-see is from ODP_API_KEY{NOT_ASKED}",
    )
    assert list_kinds(found, "region") == list_kinds(found, "DNS") == ["ok"]
    assert list_kinds(found, "connection") == list_kinds(found, "levels") == ["ok"]
    assert "test event" not in found and "environment" not in found
    assert emulator.events() == []


def test_send_sends_one_event(environment, emulator, doctor):
    """--send sends one event, and reports that ODP accepted it."""
    status, found = doctor("--send")

    assert status == 0
    assert get_finding(found, "key") == ("ok", "the key …-see is from ODP_API_KEY")
    assert list_kinds(found, "test event") == ["ok"]
    (event,) = emulator.events()
    assert event["event"]["type"] == "odp_logging"
    assert event["event"]["action"] == "doctor"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [({"status": 400, "events": [0]}, "rejected"), ({"status": 503}, "answered 503")],
)
def test_a_failed_test_event_is_a_problem(
    environment, emulator, doctor, fault, expected
):
    """The answer of ODP to the test event is reported."""
    emulator.fault(count=1, **fault)
    status, found = doctor("--send")

    assert status == 1
    assert expected in get_finding(found, "test event")[1]


def test_a_refused_key_is_a_problem(emulator, monkeypatch, doctor):
    """A key that ODP refuses is a problem, and the report does not contain it."""
    monkeypatch.setenv("ODP_API_KEY", "another-key-than-it-takes")
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    _, found = doctor("--send")

    kind, text = get_finding(found, "test event")
    assert (kind, text.endswith("answered 403 and refuses the key …akes")) == (
        "problem",
        True,
    )
    assert "another-key" not in str(found)


def test_no_end_of_a_short_key_is_shown(emulator, monkeypatch, doctor):
    """A key of less than 12 characters is called "the key", with nothing behind it."""
    monkeypatch.setenv("ODP_API_KEY", "sesame")
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    _, found = doctor("--send")

    assert get_finding(found, "key") == ("ok", "the key is from ODP_API_KEY")
    _, text = get_finding(found, "test event")
    assert text.endswith("answered 403 and refuses the key")
    assert "sesame" not in str(found)


def test_a_missing_key_is_a_problem(doctor):
    """Without a key, it says where to find one, and does not check the network."""
    status, found = doctor()

    assert status == 1
    assert list_kinds(found, "key") == ["problem"]
    assert "Account Settings > APIs" in found["key"][0]["advice"]
    assert "DNS" not in found
    assert list_kinds(found, "handlers") == ["hint"]


@pytest.mark.parametrize("key", ["$ODP_KEY", '"quoted', "<your-key>"])
def test_a_placeholder_is_no_key(key, monkeypatch, doctor):
    """A key that looks like a variable that was not filled in is a problem."""
    monkeypatch.setenv("ODP_API_KEY", key)
    monkeypatch.setenv("ODP_API_HOST", "http://127.0.0.1:9")
    _, found = doctor("--timeout", "1")

    assert "placeholder" in get_finding(found, "key")[1]
    assert key not in str(found)


def test_a_quoted_variable_is_a_problem(monkeypatch, doctor):
    """A variable that would raise in the application is reported."""
    monkeypatch.setenv("ODP_ENABLED", '"false"')
    _, found = doctor("--timeout", "1")

    assert "ODP_ENABLED has quotes around its value" in str(found["environment"])


def test_the_source_of_each_setting_is_named(emulator, tmp_path, doctor):
    """A key and a host come from a keyword, or from the datafile of one."""
    datafile = {
        "integrations": [{"key": "odp", "host": emulator.url, "publicKey": KEY}]
    }
    add_handler("a", datafile=datafile)
    add_handler("b", api_key="another-key-of-others", api_host=emulator.url)
    _, found = doctor()

    texts = [result["found"] for result in found["key"]]
    assert texts == [
        "OdpHandler on a: the key …-see is from the datafile of the keyword datafile="
        + NOT_ASKED,
        "OdpHandler on b: the key …hers is from the keyword api_key=" + NOT_ASKED,
    ]
    texts = [result["found"] for result in found["region"]]
    assert texts[0].endswith("from the datafile of the keyword datafile=")
    assert texts[1].endswith("from the keyword api_host=")


def test_a_key_of_another_region_is_a_problem(monkeypatch, doctor):
    """A key of one region with the host of another is reported with the right host."""
    monkeypatch.setenv("ODP_API_KEY", "a-key-of-europe-eu1")
    monkeypatch.setenv("ODP_API_HOST", "https://api.zaius.com")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    _, found = doctor("--timeout", "1")

    assert list_kinds(found, "region") == ["problem"]
    assert "ends with -eu1" in found["region"][0]["found"]
    assert found["region"][0]["advice"].startswith("https://api.eu1.odp.optimizely.com")


def test_unusable_variables_are_named(monkeypatch, doctor):
    """Unknown, empty and unreadable variables are named, with the most similar name."""
    monkeypatch.setenv("ODP_TIMOUT", "3")
    monkeypatch.setenv("ODP_ZZZ", "3")
    monkeypatch.setenv("ODP_SPOOL", "")
    monkeypatch.setenv("ODP_FLUSH_INTERVAL", "soon")
    monkeypatch.setenv("ODP_API_KEY", "${NO_SUCH}")
    _, found = doctor()

    texts = {result["found"]: result["kind"] for result in found["environment"]}
    assert texts["ODP_TIMOUT is no setting; did you mean ODP_TIMEOUT?"] == "problem"
    assert texts["ODP_ZZZ is no setting"] == "hint"
    assert texts["ODP_SPOOL is set, but empty: it counts as not set"] == "hint"
    assert any("ODP_FLUSH_INTERVAL='soon' cannot be used" in text for text in texts)
    assert any("ODP_API_KEY refers to ${NO_SUCH}" in text for text in texts)
    assert list_kinds(found, "key") == ["problem"]


def test_contradicting_settings_are_a_problem(monkeypatch):
    """A contradiction that would raise in the application is reported."""
    monkeypatch.setenv("ODP_DURABILITY", "crash")
    config, found = check_environment()

    assert config is None
    assert [result.kind for result in found] == ["problem"]
    assert "needs a directory" in found[0].found


def test_disabled_delivery_is_a_problem(environment, monkeypatch, doctor):
    """ODP_ENABLED=off is a problem: nothing is sent."""
    monkeypatch.setenv("ODP_ENABLED", "off")
    _, found = doctor()

    text = "enabled is off, from ODP_ENABLED: nothing is sent"
    assert get_finding(found, "enabled") == ("problem", text)


def test_the_counts_of_a_client_are_reported(environment, emulator, doctor):
    """The counts of this process's clients are reported, with reasons of losses."""
    _, handler = add_handler("shop")
    handler.client.send_odp_event("a", {"email": "ada@example.com"})
    assert handler.client.flush(10)
    _, found = doctor()
    assert list_kinds(found, "counts") == ["ok"]

    handler.client.send_odp_event("a", {})
    assert handler.client.flush(10)
    _, found = doctor()
    kind, text = get_finding(found, "counts")
    assert kind == "hint"
    assert "OdpHandler on shop: 2 events so far: 1 delivered, 1 rejected" in text
    assert "(1 no_identifiers)" in text
