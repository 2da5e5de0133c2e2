"""YAML files: what is read, and what is refused without being built first."""

from __future__ import annotations

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.sweeps.yaml_file import MOST_BYTES, read_yaml


def refusal(tmp_path, text: str | bytes) -> str:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(KCircuitsError) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def test_plain_values_and_aliases(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("a: &x {b: [1, 2.5, null, true]}\nc: *x\nd: {<<: *x, e: text}\n")
    value = read_yaml(path).value
    assert value == {
        "a": {"b": [1, 2.5, None, True]},
        "c": {"b": [1, 2.5, None, True]},
        "d": {"b": [1, 2.5, None, True], "e": "text"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:os.system ['touch {marker}']",
        "a: !!python/name:os.system",
        "a: !mine 3",
    ],
)
def test_no_objects(tmp_path, text):
    marker = tmp_path / "marker"
    assert "could not determine a constructor" in refusal(tmp_path, text.replace("{marker}", str(marker)))
    assert not marker.exists()


@pytest.mark.parametrize("merged", [False, True], ids=["aliases", "merges"])
def test_what_aliases_would_multiply(tmp_path, merged):
    """Nine to the power of nine values, which are never built."""
    last = "a0: &a0 {x: 1}\n" if merged else "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    lines = [last]
    for level in range(1, 10):
        nine = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(
            f"a{level}: &a{level} {{<<: [{nine}]}}\n" if merged else f"a{level}: &a{level} [{nine}]\n"
        )
    assert "values including aliases" in refusal(tmp_path, "".join(lines))


def test_an_alias_in_itself(tmp_path):
    assert "an alias refers to a value that contains the alias" in refusal(tmp_path, "a: &a [1, *a]")


def test_a_key_that_stands_twice(tmp_path):
    message = refusal(tmp_path, "models: [demo]\nmethods:\n  - {method: acdc}\nmodels: [other]\n")
    assert "the key 'models' is given twice in one mapping (line 4: 'models: [other]')" in message


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: [1, 2", "while parsing a flow sequence, expected ',' or ']'"),
        ("a: b: c", "not YAML: mapping values are not allowed here (line 1: 'a: b: c')"),
        ("a: *nothing", "found undefined alias"),
        ("a: \x01", "special characters are not allowed"),
        ("a: 2024-13-45", "not YAML: month must be in 1..12"),
        ("[" * 20_000, "nested too deeply"),
        (b"a: \xff", "not UTF-8"),
        ("#" * (MOST_BYTES + 1), "more than 1,048,576 bytes"),
        ("a: 1\n---\nb: 2\n", "expected a single document in the stream, but found another document"),
    ],
)
def test_what_is_no_yaml(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(KCircuitsError, match="cannot read the YAML file: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(KCircuitsError, match="not a file"):
        read_yaml(tmp_path)


def test_an_error_shows_the_line(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("models: [demo]\nmethods:\n  - method: acdc\n    threshold: [0.1, x]\n")
    document = read_yaml(path)
    error = document.error(("methods", 0, "threshold"), "must be a number")
    assert str(error) == f"{path}: methods[0].threshold: must be a number (line 4: 'threshold: [0.1, x]')"
    deeper = document.error(("methods", 0, "threshold", 1, "no", "such"), "odd")
    assert "(line 4: 'threshold: [0.1, x]')" in str(deeper)
    assert str(document.error((), "empty")) == f"{path}: empty"
