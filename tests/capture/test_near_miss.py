"""Names that look like a misspelt tag are recognized, and those of others are not."""

import logging

import pytest

from odp_logging._capture.fields import FIELD_NAMES
from odp_logging._capture.near_miss import (
    count_edits,
    find_missing_extra,
    find_near_miss,
    is_candidate,
)

IDENTIFIERS = {"email": "ada@example.com"}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("odp_acton", "odp_action"),
        ("odp_actoin", "odp_action"),
        ("odp-action", "odp_action"),
        ("odp.action", "odp_action"),
        ("odpAction", "odp_action"),
        ("OdpAction", "odp_action"),
        ("ODP_ACTION", "odp_action"),
        ("odpaction", "odp_action"),
        ("odp__action", "odp_action"),
        ("odp_actions", "odp_action"),
        ("opd_action", "odp_action"),
        ("odp_event", "odp_action"),
        ("odp_event_name", "odp_action"),
        ("odp_identifier", "odp_identifiers"),
        ("odp_identifers", "odp_identifiers"),
        ("odp_datas", "odp_data"),
        ("odp_tpye", "odp_type"),
        ("odp_timestmap", "odp_timestamp"),
        ("odp_idempotency_id", "odp_idempotence_id"),
    ],
)
def test_a_misspelt_name_alone_is_a_near_miss(name, field):
    """The correction is named, whatever the fields beside it are."""
    for fields in ({name: "x"}, {"request": 17, name: "x"}):
        found = find_near_miss(fields)
        assert f'"{name}"' in found and f'did you mean "{field}"?' in found
    assert is_candidate(name)


@pytest.mark.parametrize("name", [name for name in FIELD_NAMES if name != "odp_action"])
def test_a_field_without_the_tag_is_a_near_miss(name):
    """It has no use on a record that is no event."""
    assert find_near_miss({name: "x"}) == (
        f'"{name}" is given without "odp_action", which makes a record an event'
    )


def test_action_beside_another_field_is_a_near_miss():
    """Alone it is any application's field."""
    found = find_near_miss({"action": "bought", "odp_identifiers": IDENTIFIERS})
    assert found == '"action" is not a field of an event; did you mean "odp_action"?'


def test_bound_fields_are_none_but_a_misspelt_one_is():
    """The misspelt one is named, not those that are right."""
    assert find_near_miss({"odp_identifiers": IDENTIFIERS}, can_be_bound=True) is None
    for can_be_bound in (True, False):
        fields = {"odp_identifiers": IDENTIFIERS, "odp_datas": {}}
        assert find_near_miss(fields, can_be_bound=can_be_bound) == (
            '"odp_datas" is not a field of an event; did you mean "odp_data"?'
            ' An event needs "odp_action", too'
        )


@pytest.mark.parametrize(
    "value",
    [
        {"action": "bought", "identifiers": IDENTIFIERS},
        {"odp_action": "bought"},
        {"odp_acton": "bought"},
    ],
)
def test_nested_fields_are_a_near_miss(value):
    """They belong in extra itself."""
    for name in ("odp", "ODP"):
        assert f'nested in "{name}"' in find_near_miss({name: value})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("odp_identifier", "odp_identifiers"),
        ("odp_ids", "odp_identifiers"),
        ("odp_user_id", "odp_identifiers"),
        ("identifiers", "odp_identifiers"),
        ("odp_datas", "odp_data"),
        ("odp_payload", "odp_data"),
        ("odpType", "odp_type"),
        ("odp_time", "odp_timestamp"),
    ],
)
def test_a_misspelt_field_of_a_tagged_record_is_named(given, field):
    """Other words count here, because the record is an event for certain."""
    found = find_near_miss({"odp_action": "bought", given: "x"})
    assert found == f'"{given}" is not a field of an event; did you mean "{field}"?'


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"action": "login"},
        {"event": "sold", "action": "login", "level": "info"},
        {"identifiers": [1], "data": {}, "type": "x", "timestamp": 1.0},
        {"op_type": "index", "op_action": "x", "option": 1, "adoption": 1, "od": 1},
        {"odp_date": "2026-01-01", "odp_host": "x", "odp_enabled": True},
        {"odp_events": 3, "odp_latency_ms": 5, "odp_version": "1", "odp_active": 1},
        {"odp_id": 1, "odp_user": 1, "odp_time": 0.1, "odp_ids": []},
        {"odp": "on"},
        {"odp": {}},
        {"odp": {"host": "api.zaius.com", "queue": 3}},
        {"_odp": "", "_odp_taken": {}, "_odp_context": ()},
        {1: "x", None: "y", ("odp_acton",): "z", "odp_" + "x" * 5000: 1},
        {"otelTraceID": "0", "otelSpanID": "0", "request_id": "1", "stack": True},
        {"status_code": 200, "request": object(), "sql": "", "params": (), "alias": ""},
        {"asctime": "", "message": "", "color_message": "", "data": {"action": 1}},
    ],
)
def test_fields_of_others_are_no_near_miss(fields):
    """Django, uvicorn, OpenTelemetry and Celery put such names on records."""
    assert find_near_miss(fields) is None


def test_a_plain_record_is_no_near_miss():
    """None of the attributes that logging sets resembles a field."""
    record = logging.makeLogRecord({})
    assert find_near_miss(record.__dict__) is None
    assert not [name for name in record.__dict__ if is_candidate(name)]


def test_an_event_as_documented_is_no_near_miss():
    """All fields, with fields of the application and of this library beside them."""
    fields = dict.fromkeys(FIELD_NAMES, "x")
    own = {"action": "x", "odp_event": 1, "_odp": "", "odp_host": "", "data": 1}
    assert find_near_miss({**fields, **own}) is None


def test_the_other_words_of_a_given_field_are_the_applications():
    """odp_time may be what a request took."""
    assert (
        find_near_miss({"odp_action": "x", "odp_id": 3, "odp_identifiers": {}}) is None
    )


@pytest.mark.parametrize("fields", [{"odp_action": "x"}, {"odp_acton": "x"}])
def test_fields_as_an_argument_are_told_apart_from_extra(fields):
    """A message that formats the dict's values uses it as logging documents."""
    assert find_missing_extra("sold", fields).endswith("did you mean extra={...}?")
    assert find_missing_extra("sold %(odp_action)s", fields) is None
    assert find_missing_extra("sold", {"action": "x", "price": 5}) is None


@pytest.mark.parametrize(
    ("given", "word", "edits"),
    [
        ("", "", 0),
        ("action", "action", 0),
        ("acton", "action", 1),
        ("actoin", "action", 1),
        ("aktion", "action", 1),
        ("actionss", "action", 2),
        ("", "data", 4),
    ],
)
def test_edits_are_counted(given, word, edits):
    """A swap of two letters is one edit."""
    assert count_edits(given, word) == count_edits(word, given) == edits


def test_a_long_or_unusual_name_is_no_near_miss():
    """Names may be generated, and may hold anything."""
    assert not is_candidate("odp" * 100_000)
    assert find_near_miss({"odp\ud800\n": {}, "odp_\ud800": {}}) is None
