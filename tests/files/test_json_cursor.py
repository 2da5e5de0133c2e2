"""The cursor reads what `json.loads` reads, value by value, and refuses what it refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.files.json_cursor import JsonCursor

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def walked(cursor: JsonCursor) -> object:
    """A value, taken apart as far as it goes."""
    following = cursor.next_character()
    if following == "[":
        return list(cursor.elements())
    if following == "{":
        return {key: walked(cursor) for key in cursor.members()}
    return cursor.value()


@given(VALUES, st.sampled_from([None, 1]))
def test_what_json_has_written(value, indent):
    text = f" {json.dumps(value, indent=indent)}\r\n"
    for read in (walked, JsonCursor.value, JsonCursor.skip):
        cursor = JsonCursor(text, "document")
        found = read(cursor)
        cursor.end()
        assert found == (None if read is JsonCursor.skip else value)


@given(VALUES, st.data())
def test_what_is_cut_off(value, data):
    text = json.dumps([value])
    cursor = JsonCursor(text[: data.draw(st.integers(0, len(text) - 1))], "document")
    with pytest.raises(KCircuitsError, match="not JSON"):
        walked(cursor)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1 2]",
        "[1,]",
        "[,1]",
        '{"a" 1}',
        '{"a": 1,}',
        "{a: 1}",
        '{"a": 1 "b": 2}',
        "[1]]",
        "01",
        "[NaN]",
        "[1e999]",
        '{"a": 1, "a": 2}',
        '[{"a": 1, "a": 2}]',
    ],
)
def test_what_is_none(text):
    cursor = JsonCursor(text, "document")
    with pytest.raises(KCircuitsError, match=r"not JSON|occurs twice|must be finite"):
        walked(cursor)
        cursor.end()


def test_nan_where_it_is_allowed():
    values = list(JsonCursor("[NaN, 1]", "document", nan=True).elements())
    assert values[0] != values[0]
    with pytest.raises(KCircuitsError, match="every number must be finite, got '-Infinity'"):
        JsonCursor("-Infinity", "document", nan=True).value()
