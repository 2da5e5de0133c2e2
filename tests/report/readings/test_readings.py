"""The files of readings: what is right is taken, what is not is refused in one line that says where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.report.readings import comparison_json, curves_json, heads_json, roles_json
from tests.report.readings.documents import curves, heads, overlaps, roles
from tests.report.results import circuit

MADE = {
    "curves": (curves_json.read, lambda: curves(circuit())),
    "heads": (heads_json.read, lambda: heads(circuit())),
    "roles": (roles_json.read, lambda: roles(circuit())),
    "comparison": (comparison_json.read, overlaps),
}


@pytest.mark.parametrize("name", MADE)
def test_round_trip(tmp_path, name):
    read, make = MADE[name]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(make() | {"a key of later": [1]}))
    assert read(path) == make() | {"a key of later": [1]}


def test_what_may_be_missing(tmp_path):
    path = tmp_path / "some.json"
    document = curves(circuit())
    document["circuit"] = False
    del document["summary"]["circuit"]
    for prompt in document["prompts"]:
        prompt["subject"] = None
        del prompt["runs"]["circuit"]
        prompt["runs"]["full"]["subject_best_rank"] = None
    document["summary"]["full"]["subject_best_rank"] = None
    path.write_text(json.dumps(document))
    assert curves_json.read(path) == document
    few = roles(circuit())
    few["heads"][0] |= {"ratio": None, "low": None, "high": None}
    few["ablations"][0]["random_metric"] = None
    path.write_text(json.dumps(few))
    assert roles_json.read(path) == few


SPOILT: list[tuple[str, list[Any], Any, str]] = [
    ("curves", ["format"], "kcircuits-curves/2", "newer kcircuits"),
    ("curves", ["format"], "kcircuits-heads/1", "not a file of layer curves"),
    ("curves", ["layers"], [0, -1], "'layers' must be a list of layers"),
    ("curves", ["circuit"], 1, "'circuit' must be true or false"),
    ("curves", ["prompts", 1, "tokens"], "In", "prompt 1: 'tokens' must be a list of strings"),
    ("curves", ["prompts", 0, "subject"], [2, 9], "prompt 0: 'subject' ends at 9, and there are 4 tokens"),
    ("curves", ["prompts", 0, "subject"], [2, 2], "two rising token positions"),
    ("curves", ["prompts", 0, "runs", "full", "rank"], [1], "prompt 0, run 'full': 'rank' must be 3 numbers"),
    ("curves", ["prompts", 0, "runs", "circuit"], None, "run 'circuit' must be an object"),
    ("curves", ["summary", "full", "rank"], None, "summary of 'full', 'rank' must be an object"),
    ("curves", ["summary", "full", "rank", "low"], [1, 2, "3"], "'low' must be 3 numbers"),
    ("heads", ["prompts"], {}, "'prompts' must be a list"),
    ("heads", ["prompts", 0, "nodes", 1, "position"], 4, "node 1: 'position' is 4, and there are 4 tokens"),
    ("heads", ["prompts", 0, "nodes", 0, "logit"], True, "'logit' must be a number"),
    ("heads", ["prompts", 0, "nodes", 0, "top"], [["a"]], "'top' must be a list of tokens"),
    ("heads", ["prompts", 0, "nodes", 2, "attention"], [1], "'attention' must be 4 numbers or null"),
    ("roles", ["heads", 0, "role"], "boss", "heads, 0: 'role' must be one of mover, relation, mixture"),
    ("roles", ["mlps", 0, "logit"], None, "mlps, 0: 'logit' must be a number"),
    ("roles", ["ablations", 0, "random_metric"], [1, 2], "three numbers"),
    ("comparison", ["circuits", 0, "edges"], -1, "circuit 0: 'edges' must be a whole number"),
    ("comparison", ["node_overlap"], [[1]], "'node_overlap' must be 2 rows of 2 numbers"),
    ("comparison", ["backbone", 0], "m0", "backbone, 0 must be an object"),
]


@pytest.mark.parametrize(("name", "place", "value", "message"), SPOILT, ids=lambda part: str(part)[:40])
def test_what_is_wrong_is_said(tmp_path, name, place, value, message):
    read, make = MADE[name]
    document = make()
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document))
    with pytest.raises(KCircuitsError, match=f"{name}.json: ") as caught:
        read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": 3}', b'{"format": NaN}'])
def test_other_files(tmp_path, name, content):
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(KCircuitsError, match=r"some\.json: "):
        MADE[name][0](path)
