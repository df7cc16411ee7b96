"""OdpEvent: the form that ODP accepts, and how other values are adjusted."""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest

from odp_logging import InvalidEventError, OdpEvent, __version__

WHO = {"fs_user_id": "u1"}


def data_of(value: Any) -> Any:
    """Send *value* through an event and return what ODP would get."""
    return json.loads(OdpEvent("viewed", WHO, data={"value": value}).json)["data"][
        "value"
    ]


class Colour(enum.Enum):
    RED = "red"


class Shade(str, enum.Enum):
    DARK = "dark"


class Rank(enum.IntEnum):
    FIRST = 1


class Plain:
    def __str__(self) -> str:
        return "plain text"


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("no text")


Point = namedtuple("Point", "x y")


def test_an_event_has_the_form_of_the_sdks():
    """An event has type, action, identifiers and data with the SDKs' default data."""
    event = OdpEvent("purchased", WHO, data={"item": "shirt", "price": 50.0})

    sent = json.loads(event.json)
    assert sent["type"] == "fullstack"
    assert sent["action"] == "purchased"
    assert sent["identifiers"] == {"fs_user_id": "u1"}
    assert uuid.UUID(sent["data"].pop("idempotence_id")).version == 4
    assert sent["data"] == {
        "data_source_type": "sdk",
        "data_source": "odp-logging",
        "data_source_version": __version__,
        "item": "shirt",
        "price": 50.0,
    }


@pytest.mark.parametrize(
    "name", ["idempotence_id", "data_source", "data_source_type", "data_source_version"]
)
def test_the_callers_data_overrides_default_data(name):
    """Each default datum is overridden by the caller's of the same name."""
    assert OdpEvent("a", WHO, data={name: "mine"}).data[name] == "mine"


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_type_is_fullstack(empty):
    """A type that is None, empty or blank becomes fullstack."""
    assert OdpEvent("a", WHO, empty).type == "fullstack"


@pytest.mark.parametrize("action", [None, "", " \t"])
def test_an_empty_action_is_refused(action):
    """An event without an action cannot be made."""
    with pytest.raises(InvalidEventError, match="action is empty") as caught:
        OdpEvent(action, WHO)

    assert caught.value.reason == "no_action"


@pytest.mark.parametrize(
    "identifiers",
    [None, {}, {"email": None}, {"email": ""}, {"email": " "}, {"": "x"}, {1: "x"}],
)
def test_an_event_without_identifiers_is_refused(identifiers):
    """An event whose identifiers are all empty cannot be made."""
    with pytest.raises(InvalidEventError, match="no identifiers") as caught:
        OdpEvent("a", identifiers)

    assert caught.value.reason == "no_identifiers"


@pytest.mark.parametrize("identifiers", [["u1"], "u1", 5, {"u1"}])
def test_identifiers_that_are_no_mapping_are_refused(identifiers):
    """Identifiers are a mapping, and the message says what to pass."""
    with pytest.raises(InvalidEventError, match="must be a dict") as caught:
        OdpEvent("a", identifiers)

    assert caught.value.reason == "bad_identifiers"


@pytest.mark.parametrize("data", [["u1"], "u1", 5])
def test_data_that_is_no_mapping_is_refused(data):
    """Data must be a mapping, and the message says what to pass."""
    with pytest.raises(InvalidEventError, match="must be a dict") as caught:
        OdpEvent("a", WHO, data=data)

    assert caught.value.reason == "bad_data"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("abc", "abc"),
        (17850, "17850"),
        (17850.0, "17850"),
        (2**70, str(2**70)),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Shade.DARK, "dark"),
    ],
)
def test_identifier_values_are_text(given, expected):
    """Text, whole numbers, UUIDs and Enums become text."""
    assert OdpEvent("a", {"id": given}).identifiers == {"id": expected}


@pytest.mark.parametrize(
    "given", [True, 1.5, float("nan"), ["a"], {"a": "b"}, Plain(), "x" * 1025]
)
def test_invalid_identifier_values_are_left_out(given):
    """They are counted, and the others are sent."""
    event = OdpEvent("a", {"id": given, "email": "a@example.com"})

    assert event.identifiers == {"email": "a@example.com"}
    assert event.adjusted == {"identifier": 1}


@pytest.mark.parametrize(
    "alias", ["fs-user-id", "FS_USER_ID", "FS-USER-ID", "Fs-User-Id", "fs_User-id"]
)
def test_aliases_of_fs_user_id_are_normalised(alias):
    """Every spelling of fs_user_id becomes that one, and the alias is gone."""
    assert OdpEvent("a", {alias: "u1"}).identifiers == {"fs_user_id": "u1"}


@pytest.mark.parametrize("first", ["fs_user_id", "FS-USER-ID"])
def test_a_canonical_value_wins_over_its_aliases(first):
    """The canonical fs_user_id wins in either order of the dict."""
    both = {"fs_user_id": "right", "FS-USER-ID": "wrong"}
    given = {first: both[first], **both}

    assert OdpEvent("a", given).identifiers == {"fs_user_id": "right"}


def test_an_empty_canonical_value_gives_way_to_an_alias():
    """An empty fs_user_id does not override the value under its alias."""
    given = {"fs_user_id": "", "FS_USER_ID": "u1", "fs-user-id": "later"}

    assert OdpEvent("a", given).identifiers == {"fs_user_id": "u1"}


def test_the_callers_dicts_are_not_changed():
    """Making an event changes nothing in what was passed."""
    identifiers, data = {"FS-USER-ID": "u1"}, {"list": [1, {"a": "b"}]}

    OdpEvent("a", identifiers, data=data)

    assert identifiers == {"FS-USER-ID": "u1"}
    assert data == {"list": [1, {"a": "b"}]}


def test_later_changes_do_not_reach_an_event():
    """Changes that the caller makes later are not sent."""
    data = {"list": [1, {"a": "b"}]}
    event = OdpEvent("a", WHO, data=data)
    data["list"][1]["a"] = "changed"
    data["list"].append(2)

    assert event.data["list"] == [1, {"a": "b"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", "text"),
        ("", ""),
        (5, 5),
        (-1.25, -1.25),
        (True, True),
        (None, None),
        (datetime(2010, 12, 1, 8, 26), "2010-12-01T08:26:00"),
        (
            datetime(2010, 12, 1, 8, 26, tzinfo=timezone.utc),
            "2010-12-01T08:26:00+00:00",
        ),
        (date(2010, 12, 1), "2010-12-01"),
        (time(8, 26), "08:26:00"),
        (timedelta(minutes=1.5), 90.0),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal("2.50"), "2.50"),
        (Colour.RED, "red"),
        (Shade.DARK, "dark"),
        (Rank.FIRST, 1),
        (b"caf\xc3\xa9", "café"),
        (bytearray(b"\xff"), "\ufffd"),
        ([1, "a", None], [1, "a", None]),
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        ({1}, [1]),
        (frozenset({"a"}), ["a"]),
        (deque([1]), [1]),
        ({"sku": "A1", "n": {"deep": [1]}}, {"sku": "A1", "n": {"deep": [1]}}),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "(1, 2)": "c"}),
        (Plain(), "plain text"),
        (Raising(), "<Raising>"),
        (Fraction(1, 3), "1/3"),
        (PurePosixPath("/tmp"), "/tmp"),
        (range(3), "range(0, 3)"),
        (2**53, 2**53),
        ("日本 ✓", "日本 ✓"),
    ],
)
def test_each_kind_of_value_has_one_form(given, expected):
    """Each kind of value has one form in ODP's JSON."""
    assert data_of(given) == expected
    assert type(data_of(given)) is type(expected)


@pytest.mark.parametrize(
    ("given", "expected", "kind"),
    [
        (float("nan"), None, "not_finite"),
        (float("inf"), None, "not_finite"),
        (Decimal("NaN"), None, "not_finite"),
        (2**53 + 1, str(2**53 + 1), "integer"),
        (-(2**53) - 1, str(-(2**53) - 1), "integer"),
        ("x" * 1025, "x" * 1024, "cut"),
        (Plain().__class__.__name__ * 300, ("Plain" * 300)[:1024], "cut"),
        (b"x" * 5000, "x" * 1024, "cut"),
        ("a\ud800b", "a\ufffdb", "surrogate"),
        ("\ud83d\ude00", "\U0001f600", "surrogate"),
    ],
)
def test_adjusted_values_are_counted_by_kind(given, expected, kind):
    """What has to be changed for ODP is changed, and counted by kind."""
    event = OdpEvent("a", WHO, data={"value": given})

    assert json.loads(event.json)["data"]["value"] == expected
    assert event.adjusted == {kind: 1}


def test_an_integer_of_any_length_can_be_sent():
    """An integer with more digits than Python prints becomes text of 1,024 at most."""
    assert data_of(10**10_000).startswith("0x")
    assert len(data_of(10**10_000)) == 1024
    assert data_of(10**2_000) == str(10**2_000)[:1024]


def test_an_identifier_that_would_be_cut_is_left_out():
    """Cut to 1,024 digits, it could equal another customer's."""
    for digits in (1_025, 10_000):
        event = OdpEvent("a", {"id": 10 ** (digits - 1), **WHO})

        assert (event.identifiers, event.adjusted) == (WHO, {"identifier": 1})


def test_nesting_is_limited_and_counted():
    """Values below eight levels become null."""
    deep: list[Any] = []
    for _ in range(20):
        deep = [deep]
    event = OdpEvent("a", WHO, data={"deep": deep})

    assert json.loads(event.json)["data"]["deep"] == [[[[[[[[None]]]]]]]]
    assert event.adjusted == {"depth": 1}


def test_a_cycle_is_cut_at_the_depth_limit():
    """A list that holds itself is sent to the bounded depth."""
    ring: list[Any] = [1]
    ring.append(ring)

    assert data_of(ring)[1][0] == 1


@pytest.mark.parametrize("what", ["action", "type"])
def test_names_that_are_cut_are_counted(what):
    """An action or type over 1,024 characters is cut, and counted as such."""
    event = OdpEvent(**{"action": "a", "identifiers": WHO, what: "x" * 1025})

    assert getattr(event, what) == "x" * 1024
    assert event.adjusted == {"cut": 1}


@pytest.mark.parametrize("given", ["x" * 1025, "id\ud800", b"\xff", True, ["id"], 1.5])
def test_an_idempotence_id_is_not_changed(given):
    """An id that cannot be kept is replaced: a changed one could equal another."""
    event = OdpEvent("a", WHO, idempotence_id=given)

    assert uuid.UUID(event.idempotence_id).version == 4
    assert event.adjusted == {"idempotence_id": 1}


@pytest.mark.parametrize("what", ["action", "type"])
@pytest.mark.parametrize("given", [5, 0, b"viewed", b"", 1.5, uuid.UUID(int=5)])
def test_names_must_be_text(what, given):
    """An action or type that is not text is refused, and its type is named."""
    with pytest.raises(InvalidEventError, match=type(given).__name__) as caught:
        OdpEvent(**{"action": "a", "identifiers": WHO, what: given})

    assert caught.value.reason == f"bad_{what}"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"J\xfcrgen".decode("utf-8", "surrogateescape"), "undecodable bytes"),
        (b"J\xfcrgen", "bytes that are not UTF-8"),
        ("x" * 1025, "longer than 1,024 characters"),
        (b"x" * 5000, "longer than 1,024 characters"),
        (Plain(), "a value of the type Plain"),
        (2.0**53 + 2, "a value of the type float"),
        (True, "a value of the type bool"),
    ],
)
def test_an_identifier_that_would_be_changed_is_refused(given, why):
    """Two customers never become one; the message says what is wrong."""
    with pytest.raises(InvalidEventError, match=why) as caught:
        OdpEvent("a", {"email": given})

    assert caught.value.reason == "no_identifiers"
    assert OdpEvent("a", {"email": given, **WHO}).adjusted == {"identifier": 1}


def test_ids_of_mongodb_are_their_text():
    """An ObjectId is an identifier, an action's data and an idempotence id as text."""
    made = pytest.importorskip("bson").ObjectId("64b7f0c2a1b2c3d4e5f60718")
    event = OdpEvent("a", {"customer": made}, idempotence_id=made)

    assert event.identifiers == {"customer": str(made)}
    assert (event.idempotence_id, event.adjusted) == (str(made), {})


def test_ulids_are_their_text():
    """A ULID is an identifier as text."""
    made = pytest.importorskip("ulid").ULID()

    assert OdpEvent("a", {"customer": made}).identifiers == {"customer": str(made)}


def test_too_many_identifiers_are_refused():
    """An event with more than ten thousand identifiers is refused."""
    with pytest.raises(InvalidEventError, match="10000") as caught:
        OdpEvent("a", {f"id{n}": "x" for n in range(10_001)})

    assert caught.value.reason == "too_many_values"


def test_identifiers_with_long_names_are_left_out():
    """An identifier whose name ODP could not store is left out, and counted."""
    event = OdpEvent("a", {"k" * 1025: "x", **WHO})

    assert (event.identifiers, event.adjusted) == (WHO, {"identifier": 1})


def test_a_member_without_a_value_is_none():
    """An Enum member whose value is None counts as none."""
    nothing = enum.Enum("Nothing", {"NONE": None}).NONE

    assert OdpEvent("a", WHO, nothing).type == "fullstack"
    assert not OdpEvent("a", {"id": nothing, **WHO}).adjusted
    with pytest.raises(InvalidEventError, match="action is empty"):
        OdpEvent(nothing, WHO)


def test_a_full_event_can_be_rebuilt():
    """Default data does not count, so before_send may replace a full event."""
    event = OdpEvent("a", WHO, data={"list": [0] * 9_999}, timestamp=5)

    assert dataclasses.replace(event) == event


def test_too_many_values_are_refused():
    """An event with more than ten thousand values is refused, not sent in part."""
    with pytest.raises(InvalidEventError, match="10000") as caught:
        OdpEvent("a", WHO, data={"list": list(range(20_000))})

    assert caught.value.reason == "too_many_values"


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1_291_191_960, 1_291_191_960),
        (1_291_191_960.9, 1_291_191_960),
        ("1291191960", 1_291_191_960),
        (datetime(2010, 12, 1, 8, 26, tzinfo=timezone.utc), 1_291_191_960),
        ("2010-12-01T08:26:00Z", "2010-12-01T08:26:00Z"),
        ("2010-12-01T08:26:00+00:00", "2010-12-01T08:26:00+00:00"),
        (1_291_191_960_123, 1_291_191_960),
    ],
)
def test_timestamps_become_whole_epoch_seconds(timestamp, expected):
    """A time is sent as whole epoch seconds, or as the ISO text it was given as."""
    assert OdpEvent("a", WHO, timestamp=timestamp).data["ts"] == expected


@pytest.mark.parametrize("timestamp", [True, "soon", [], float("nan"), object()])
def test_an_unreadable_timestamp_is_left_out_and_counted(timestamp):
    """ODP then uses its time of receipt."""
    event = OdpEvent("a", WHO, timestamp=timestamp)

    assert "ts" not in event.data
    assert event.adjusted == {"timestamp": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01", "2024-03-01"),
        ("2024-W09-5", "2024-03-01"),
        ("2024W095", "2024-03-01"),
        ("2024-W09", "2024-02-26"),
        ("2024-03-01T10", "2024-03-01T10:00:00"),
        ("2024-02-29T24", "2024-03-01T00:00:00"),
        ("20240229T240000.0Z", "2024-03-01T00:00:00.0Z"),
        ("2024-03-01T10:00", "2024-03-01T10:00:00"),
        ("2024-03-01T10:00:00Z", "2024-03-01T10:00:00Z"),
        ("2024-03-01t10:00:00z", "2024-03-01T10:00:00Z"),
        ("2024-03-01T10:00:00.1Z", "2024-03-01T10:00:00.1Z"),
        ("2024-03-01T10:00:00.12345Z", "2024-03-01T10:00:00.12345Z"),
        ("2024-03-01T10:00:00.1234567Z", "2024-03-01T10:00:00.1234567Z"),
        ("2024-03-01T10:00:00.123456789Z", "2024-03-01T10:00:00.123456789Z"),
        ("2024-03-01T10:00:00.1234567899Z", "2024-03-01T10:00:00.123456789Z"),
        ("2024-03-01T10:00:00,5Z", "2024-03-01T10:00:00.5Z"),
        ("2024-03-01 10:00:00.12+00", "2024-03-01T10:00:00.12+00:00"),
        ("2024-03-01 10:00:00 -0530", "2024-03-01T10:00:00-05:30"),
        ("2024-03-01T10:00:00+0000", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01T10:00:00+00:19:32", "2024-03-01T10:00:00+00:19:32"),
        ("20240301T100000Z", "2024-03-01T10:00:00Z"),
        (" 20240301T1000+0100\n", "2024-03-01T10:00:00+01:00"),
    ],
)
def test_iso_times_are_the_same_on_every_python(text, expected):
    """Each form of ISO-8601 is sent in the extended form, whatever Python reads."""
    event = OdpEvent("a", WHO, timestamp=text)

    assert (event.data["ts"], event.adjusted) == (expected, {})


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30",
        "2024-13-01",
        "0000-01-01",
        "2024-W54-1",
        "2024-03-01T24:01",
        "2024-03-01T24:00:01",
        "2024-03-01T24:00:00.000000001",
        "9999-12-31T24:00",
        "2024-03-01T10:60",
        "2024-03-01T10:00:61",
        "2024-03-01T10:00:00+24:00",
        "2024-03-01T",
        "2024-03-01T10:00:00.",
        "2024-03-01T10:00:00 UTC",
        "2024-03-01X10:00",
        "01.03.2024",
        "Fri, 01 Mar 2024 10:00:00 GMT",
        "٢٠٢٤-٠٣-٠١",
        "2024-03-01T10:00:00." + "1" * 1010,
    ],
)
def test_texts_that_are_no_iso_time_are_counted(text):
    """A text that is not ISO-8601 is left out, on every Python."""
    event = OdpEvent("a", WHO, timestamp=text)

    assert "ts" not in event.data
    assert event.adjusted == {"timestamp": 1}


@pytest.mark.parametrize("timestamp", [1e300, -1e300, 1_291_191_960_000_000, "1e40"])
def test_a_time_beyond_the_year_5138_is_left_out(timestamp):
    """Even if the number is read as milliseconds."""
    event = OdpEvent("a", WHO, timestamp=timestamp)

    assert "ts" not in event.data
    assert event.adjusted == {"timestamp": 1}


def test_overrides_of_a_datetime_subclass_are_not_called():
    """What a subclass of datetime says of its timestamp is not asked."""

    class Liar(datetime):
        def timestamp(self) -> Any:
            return Raising()

    assert (
        OdpEvent("a", WHO, timestamp=Liar(1970, 1, 1, tzinfo=timezone.utc)).data["ts"]
        == 0
    )


def test_ts_in_data_overrides_the_timestamp():
    """Unless it is None."""
    assert OdpEvent("a", WHO, data={"ts": 5}, timestamp=9).data["ts"] == 5
    assert OdpEvent("a", WHO, data={"ts": None}, timestamp=9).data["ts"] == 9


@pytest.mark.parametrize("empty", [None, "", " "])
def test_an_event_always_has_an_idempotence_id(empty):
    """An empty id is replaced by a new one, so that ODP detects repetitions."""
    event = OdpEvent("a", WHO, data={"idempotence_id": empty}, idempotence_id=empty)

    assert uuid.UUID(event.idempotence_id).version == 4


def test_a_given_idempotence_id_is_kept():
    """An id from either argument is used unchanged."""
    mine = uuid.uuid4()

    assert OdpEvent("a", WHO, idempotence_id="mine").idempotence_id == "mine"
    assert OdpEvent("a", WHO, data={"idempotence_id": mine}).idempotence_id == str(mine)


def test_generated_ids_differ():
    """Ten thousand events have ten thousand ids."""
    assert len({OdpEvent("a", WHO).idempotence_id for _ in range(10_000)}) == 10_000


def test_a_replaced_event_keeps_its_id():
    """dataclasses.replace makes a checked event with the same idempotence id."""
    event = OdpEvent("a", WHO, data={"item": "shirt"})
    changed = dataclasses.replace(event, data={**event.data, "item": "hat"})

    assert changed.data["item"] == "hat"
    assert changed.idempotence_id == event.idempotence_id


def test_events_cannot_be_changed():
    """Neither an event nor what it holds can be assigned to."""
    event = OdpEvent("a", WHO)

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.action = "b"
    with pytest.raises(TypeError):
        event.data["item"] = "hat"
    with pytest.raises(TypeError):
        event.identifiers["email"] = "a@example.com"


def test_repr_and_pickle_show_no_personal_data():
    """Neither repr nor pickle of an event holds an identifier or its data."""
    event = OdpEvent("bought", {"email": "a@example.com"}, data={"item": "shirt"})

    assert repr(event) == "<OdpEvent fullstack/bought: 1 identifiers, 5 data values>"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(event)


def test_equal_events_are_equal():
    """Events are equal if ODP gets the same, and can be kept in sets."""
    event = OdpEvent("a", WHO, idempotence_id="x")

    assert event == OdpEvent("a", WHO, idempotence_id="x")
    assert event != OdpEvent("a", WHO, idempotence_id="y")
    assert len({event, OdpEvent("a", WHO, idempotence_id="x")}) == 1


def test_to_dict_gives_plain_dicts():
    """to_dict returns the event as ODP gets it, safe to change."""
    event = OdpEvent("a", WHO, data={"list": [1]})
    event.to_dict()["data"]["list"].append(2)

    assert event.to_dict()["data"]["list"] == [1]
