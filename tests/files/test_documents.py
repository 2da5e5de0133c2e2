"""What every reader of foreign documents shares; test_circuit_json.py has the attacks."""

from __future__ import annotations

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import check_format, dump_json, parse_json, quote, read_text


def test_errors_name_what_was_read(tmp_path):
    with pytest.raises(KCircuitsError, match="cannot read the list: No such file"):
        read_text(tmp_path / "missing", "list")
    with pytest.raises(KCircuitsError, match="not a file; give the path of a list"):
        read_text(tmp_path, "list")
    with pytest.raises(KCircuitsError, match="cannot read the list: embedded null byte"):
        read_text("bad\0name", "list")
    with pytest.raises(KCircuitsError, match="not a list: the JSON is nested too deeply"):
        parse_json("[" * 100_000, "list")
    with pytest.raises(KCircuitsError, match="the list's 'name' cannot be written as JSON"):
        dump_json({1, 2}, "name", "list")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("kind/2", "newer kcircuits"),
        ("kind/1x", "must be 'kind/1', got 'kind/1x'"),
        ("other/2", "must be 'kind/1'"),
        (None, "got None"),
    ],
)
def test_formats(value, message):
    check_format("kind/1", "kind/1", "list")
    with pytest.raises(KCircuitsError, match=message):
        check_format(value, "kind/1", "list")


def test_shown_is_short():
    assert quote("short") == "'short'"
    assert len(quote("x" * 1000)) == 80
