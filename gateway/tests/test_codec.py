"""JSON to protobuf and back, for every shape a field can have."""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from gateway import codec
from gateway.problems import Violation
from gateway.tests.notes import note_class


def read(value: Any) -> tuple[Any, list[Violation]]:
    """A note from a JSON value, and what is wrong with it."""
    note, found = note_class()(), list[Violation]()
    codec.reader(note.DESCRIPTOR)(codec.parse(json.dumps(value).encode()), note, "", found)
    return note, found


WHOLE: dict[str, Any] = {
    "name": "shelves/1/notes/2",
    "seal": "3q2+7w==",
    "weight": 1.5,
    "height": 0.25,
    "pages": 4_294_967_295,
    "letters": "18446744073709551615",
    "isDraft": True,
    "colour": "BLUE",
    "otherColour": "RED",
    "colours": ["RED", "BLUE"],
    "words": {"a": "1", "b": "-9223372036854775808"},
    "byTruth": {"true": {"name": "yes"}},
    "parent": {"name": "up", "parts": [{"pages": 1}]},
    "parts": [{}, {"name": "in"}],
    "writeTime": "2026-01-02T03:04:05.600Z",
    "readingTime": "1.500s",
    "place": "Rome",
    "rank": 0,
    "extras": [None, True, "text", {"a": [1.5]}],
    "isRead": False,
    "copies": "9007199254740993",
}


def test_every_shape_of_field_is_read_as_the_reference_reads_it() -> None:
    note, found = read(WHOLE)

    assert found == []
    assert note == json_format.ParseDict(WHOLE, note_class()())


def test_every_shape_of_field_is_written_as_the_reference_writes_it() -> None:
    note, _ = read(WHOLE)

    written = json.loads(codec.encode(note))
    assert written == json_format.MessageToDict(note, always_print_fields_with_no_presence=True) | {
        "colour": "BLUE",
    }


def test_names_of_the_proto_are_read_too() -> None:
    note, found = read({"is_draft": True, "other_colour": "RED"})

    assert found == []
    assert note.is_draft
    assert note.other_colour == 1


def test_null_is_the_same_as_nothing() -> None:
    note, found = read(dict.fromkeys(WHOLE))

    assert found == []
    assert note == note_class()()


def test_null_is_a_value_where_any_value_may_stand() -> None:
    note, found = read({"extra": None})

    assert found == []
    assert note.extra.WhichOneof("kind") == "null_value"
    assert json.loads(codec.encode(note))["extra"] is None


@pytest.mark.parametrize(
    ("text", "number"), [("1e2", 100), ("1.0", 1), ("-0", 0), ("18446744073709551615.0", 2**64 - 1), ("12.5E1", 125)]
)
def test_a_whole_number_in_a_string_may_have_a_point_or_an_exponent(text: str, number: int) -> None:
    """As in a JSON number; and without the digits that a float would lose."""
    note, found = read({"letters": text})

    assert found == []
    assert note.letters == number


def test_what_may_be_absent_is_left_out_and_everything_else_is_written() -> None:
    written = json.loads(codec.encode(note_class()(other_colour=0)))

    assert written["pages"] == 0
    assert written["words"] == {}
    assert written["parts"] == []
    assert written["isDraft"] is False
    # Unspecified and absent say the same.
    assert {"rank", "otherColour", "parent", "writeTime", "person", "place"}.isdisjoint(written)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_travel_as_strings(number: float) -> None:
    written = json.loads(codec.encode(note_class()(weight=number)))["weight"]
    note, found = read({"weight": written})

    assert written in ("NaN", "Infinity", "-Infinity")
    assert found == []
    assert str(note.weight) == str(number)


@pytest.mark.parametrize(
    ("value", "field", "rule"),
    [
        ({"seal": "not base64!"}, "seal", "json.type"),
        ({"seal": 1}, "seal", "json.type"),
        ({"weight": "heavy"}, "weight", "json.type"),
        ({"weight": "1_0"}, "weight", "json.type"),
        ({"weight": True}, "weight", "json.type"),
        ({"height": 1e39}, "height", "json.range"),
        ({"weight": 10**400}, "weight", "json.range"),
        ({"pages": -1}, "pages", "json.range"),
        ({"pages": "1e-2"}, "pages", "json.type"),
        ({"pages": "1.5"}, "pages", "json.type"),
        ({"pages": ""}, "pages", "json.type"),
        ({"pages": "1e9999"}, "pages", "json.range"),
        ({"isRead": "true"}, "isRead", "json.type"),
        ({"copies": 2**63}, "copies", "json.range"),
        ({"extra": 10**400}, "extra", "json.type"),
        ({"extra": {"\ud800": 1}}, "extra", "json.type"),
        ({"letters": 2**64}, "letters", "json.range"),
        ({"isDraft": "true"}, "isDraft", "json.type"),
        ({"isDraft": 1}, "isDraft", "json.type"),
        ({"colour": "GREEN"}, "colour", "json.enum"),
        ({"colour": 1}, "colour", "json.enum"),
        ({"colours": ["RED", "GREEN"]}, "colours[1]", "json.enum"),
        ({"words": []}, "words", "json.type"),
        ({"words": {"a": "x"}}, 'words["a"]', "json.type"),
        ({"byTruth": {"maybe": {}}}, 'byTruth["maybe"]', "json.type"),
        ({"byTruth": {"true": {"colour": 7}}}, 'byTruth["true"].colour', "json.enum"),
        ({"parent": []}, "parent", "json.type"),
        ({"parent": {"parts": [{"pages": "x"}]}}, "parent.parts[0].pages", "json.type"),
        ({"parts": {}}, "parts", "json.type"),
        ({"writeTime": "yesterday"}, "writeTime", "json.type"),
        ({"writeTime": 5}, "writeTime", "json.type"),
        ({"readingTime": "long"}, "readingTime", "json.type"),
        ({"person": "ada", "place": "Rome"}, "place", "json.duplicate"),
        ({"isDraft": True, "is_draft": False}, "is_draft", "json.duplicate"),
        ({"parent": {"nom": "up"}}, "parent.nom", "json.unknown_field"),
        ({"parent": {"\ud800": 1}}, "parent.\\ud800", "json.unknown_field"),
        ([], "", "json.type"),
    ],
)
def test_what_a_field_cannot_hold_is_named_with_its_place(value: Any, field: str, rule: str) -> None:
    _, found = read(value)

    assert [(violation.field, violation.rule) for violation in found] == [(field, rule)]


def test_everything_wrong_is_found_at_once() -> None:
    _, found = read({"pages": "x", "colour": "GREEN", "nom": 1, "parts": [{"pages": "y"}, {"letters": -1}]})

    assert [violation.field for violation in found] == ["pages", "colour", "nom", "parts[0].pages", "parts[1].letters"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, "x"]), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_no_json_value_is_more_than_refused(value: Any) -> None:
    """Whatever comes is read or refused; what is read can be written, and is read back the same."""
    note, found = read(value)

    if not found:
        again, wrong = read(json.loads(codec.encode(note)) | _unspecified_left_out(note))
        assert (again, wrong) == (note, [])


def _unspecified_left_out(note: Any) -> dict[str, Any]:
    return {"otherColour": "COLOUR_UNSPECIFIED"} if note.HasField("other_colour") and not note.other_colour else {}
