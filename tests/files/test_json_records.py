"""Where records begin and end in a file, and what is said about bad ones."""

from __future__ import annotations

import json

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import read_text
from kcircuits.files.json_records import Record, parse_records

FIRST, SECOND = {"prompt": "a\u2028b\x85c\fd", "n": 1}, {"prompt": "x", "list": [{"y": 1}]}


def values(text: str) -> list[object]:
    records = parse_records(text, "file")
    assert all(record.fault is None for record in records)
    return [record.value for record in records]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FIRST, ensure_ascii=False) + "\n" + json.dumps(SECOND, ensure_ascii=False),
        json.dumps([FIRST, SECOND], ensure_ascii=False),
        json.dumps([FIRST, SECOND], indent=2),
        json.dumps(FIRST, indent=1) + "\n" + json.dumps(SECOND, indent=1) + "\n",
        "\n\n " + json.dumps(FIRST) + "\n \n" + json.dumps(SECOND) + "\n\n",
    ],
)
def test_lines_lists_and_objects_over_several_lines(text):
    assert values(text) == [FIRST, SECOND]


def test_one_object_over_several_lines():
    assert values(json.dumps(SECOND, indent=4)) == [SECOND]
    assert values('{\n"list": [\n{"y": 1}\n]}') == [{"list": [{"y": 1}]}]  # not indented
    assert values(" \n") == []


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(each).encode() for each in (FIRST, SECOND)))
    assert values(read_text(path, "file")) == [FIRST, SECOND]


def test_a_bad_line_is_one_record_and_the_others_are_read():
    first, bad, last = parse_records('{"a": 1}\n\n{"a": 2,}\n{"a": 3}', "file")
    assert (first.value, last) == ({"a": 1}, Record("line 4", {"a": 3}))
    assert bad.where == "line 3"
    assert bad.fault is not None and "remove the comma after the last item" in bad.fault
    begin = parse_records('{"a": \n{"a": 2}\n', "file")
    assert [record.fault is None for record in begin] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n {"a": 2},\n]', r"line 3 column 1 \(remove the comma"),
        ('[\n{"a": 1},\n{"a": 2}\n{"a": 3}\n]', "delimiter: line 4 column 1"),
        ('{\n "a": 1,\n}', "line 3"),
        ('{"a": 1,\n "b": 2}\n{"a": 1,\n "b": }', "line 4 column 7"),
        ('[{"a": 1, "a": 2}]', "the key 'a' occurs twice"),
        ('[{"a": {"b": 1, "c": 1, "b": 1}}]', "the key 'b' occurs twice"),
        ('[{"a": NaN}]', "every number must be finite"),
        ('[{"a": 1e999}]', "every number must be finite"),
    ],
)
def test_what_cannot_be_parsed_at_all(text, message):
    with pytest.raises(KCircuitsError, match=message) as error:
        parse_records(text, "file")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ['{"a": NaN}', '{"a": 1, "a": 1}', '{"a": "\f"}'])
def test_faults_of_lines(line):
    (record,) = parse_records(line, "file")
    with pytest.raises(KCircuitsError):
        record.require_object()
