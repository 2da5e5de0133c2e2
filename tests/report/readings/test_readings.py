"""The files of readings: what is right is taken, what is not is refused in one line that says where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcircuits.analysis.comparison.results import Comparison
from kcircuits.analysis.curves.results import Curves
from kcircuits.analysis.hallucination.results import Hallucinations
from kcircuits.analysis.heads.results import HeadReadings
from kcircuits.analysis.in_context.results import InContext
from kcircuits.analysis.knockout.results import Knockout
from kcircuits.analysis.roles.results import Roles
from kcircuits.editing.explanation import Explanation
from kcircuits.editing.report import EditReport
from kcircuits.errors import KCircuitsError
from tests.report.readings.behaviours import edits, explain, hallucination, icl, knockout
from tests.report.readings.documents import curves, heads, overlaps, roles
from tests.report.results import circuit

MADE = {
    "curves": (Curves, lambda: curves(circuit())),
    "heads": (HeadReadings, lambda: heads(circuit())),
    "roles": (Roles, lambda: roles(circuit())),
    "comparison": (Comparison, lambda: overlaps(circuit())),
    "hallucination": (Hallucinations, lambda: hallucination(circuit())),
    "icl": (InContext, lambda: icl(circuit())),
    "knockout": (Knockout, lambda: knockout(circuit())),
    "explain": (Explanation, lambda: explain(circuit())),
    "edits": (EditReport, lambda: edits(circuit())),
}


@pytest.mark.parametrize("name", MADE)
def test_round_trip(tmp_path, name):
    kind, make = MADE[name]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(make() | {"a key of later": [1]}))
    loaded = kind.load(path)
    assert without_summary(json.loads(loaded.to_text())) == without_summary(make())
    loaded.save(path)
    assert kind.load(path) == loaded


def without_summary(document: dict[str, Any]) -> dict[str, Any]:
    """What follows from the rest is computed anew."""
    return {key: value for key, value in document.items() if key != "summary"}


def test_what_may_be_missing():
    document = curves(circuit())
    document["circuit"] = False
    for prompt in document["prompts"]:
        prompt["subject"] = None
        del prompt["runs"]["circuit"]
        prompt["runs"]["full"] |= dict.fromkeys(("subject_best_rank", "subject_last_probability"))
    loaded = Curves.from_json(document)
    assert loaded.to_json()["prompts"] == document["prompts"]
    assert loaded.to_json()["summary"]["full"]["subject_best_rank"] is None


def test_what_behaviours_may_lack():
    nothing_added = icl(circuit()) | {"added": [], "ablations": {"zero-shot": None, "few-shot": None}}
    no_text = knockout(circuit()) | {"text": None}
    for effect in no_text["effects"]:
        effect["random"] = []
    nowhere = explain(circuit()) | {"shares": None, "changes": [], "heads": []}
    alone = overlaps(circuit()) | {"two_hop": None, "backbone": [], "frequency": {}}
    for kind, document in (
        (InContext, nothing_added),
        (Knockout, no_text),
        (Explanation, nowhere),
        (Comparison, alone),
        (EditReport, edits(circuit()) | {"perplexity": None}),
    ):
        assert json.loads(kind.from_json(document).to_text()) == document


def test_edits_of_older_versions():
    document = edits(circuit())
    del document["means_before"], document["left_out"]
    for edit in document["edits"]:
        del edit["before"], edit["margin"]
    loaded = EditReport.from_json(document)
    assert (loaded.before, loaded.margins, loaded.left_out) == ((), (), ())
    assert loaded == EditReport.from_json(edits(circuit()))


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
    ("heads", ["prompts"], {}, "'prompts' must be a list"),
    ("heads", ["prompts", 0, "nodes", 1, "position"], 4, "node 1: 'position' is 4, and there are 4 tokens"),
    ("heads", ["prompts", 0, "nodes", 0, "logit"], True, "'logit' must be a number"),
    ("heads", ["prompts", 0, "nodes", 0, "top"], [["a"]], "'top' must be a list of tokens"),
    ("heads", ["prompts", 0, "nodes", 2, "attention"], [1], "'attention' must be 4 numbers or null"),
    (
        "roles",
        ["heads", 0, "per_prompt", "subject_write"],
        [1.0],
        "1 prompts in 'subject_write', 2 in",
    ),
    ("roles", ["full"], {}, "full: the key 'metric' is missing"),
    ("heads", ["prompts", 0, "nodes", 0, "node"], "m7", "'m7' is not a node of"),
    ("roles", ["mlps", 0, "logit"], None, "mlps, 0: 'logit' must be a number"),
    ("roles", ["ablations", 0, "random_metric"], [1, 2], "three numbers"),
    ("comparison", ["circuits", 0, "edges"], -1, "circuit 0: 'edges' must be a whole number"),
    ("comparison", ["node_overlap"], [[1]], "'node_overlap' must be 3 rows of 3 numbers"),
    ("comparison", ["backbone", 0], "m0", "backbone, 0 must be an object"),
    ("comparison", ["settings"], {}, "settings: the key 'backbone' is missing"),
    ("comparison", ["frequency"], [], "'frequency' must be an object"),
    ("comparison", ["frequency", "French", 1, "layer"], 0, "of layer 1 has 'layer' 0"),
    ("comparison", ["frequency", "French", 0, "mlp"], None, "'mlp' must be a number"),
    (
        "comparison",
        ["frequency", "two hops"],
        [],
        "all domains must have the same number of layers, got [0, 2]",
    ),
    ("comparison", ["two_hop", "parts"], ["French"], "'parts' must be two names"),
    ("comparison", ["two_hop", "of_both"], {"nodes": 1}, "what is contained, 2: the key 'edges' is missing"),
    ("hallucination", ["prompts"], [], "it has no errors"),
    ("hallucination", ["settings"], {"num_prompts": 3}, "settings: the key 'num_errors' is missing"),
    ("hallucination", ["prompts", 0, "runs", "wrong"], {"rank": [1, 2, 3]}, "the key 'probability' is"),
    ("hallucination", ["prompts", 1, "runs", "right", "rank"], [0, 1, 2], "'rank' must be 3 numbers from 1"),
    ("hallucination", ["prompts", 0, "overtakes"], 3, "prompt 0: 'overtakes' is 3, which is not one of the"),
    ("hallucination", ["prompts", 0, "wrong"], None, "prompt 0: 'wrong' must be a string"),
    ("hallucination", ["prompts", 0, "nodes", 1, "share"], "all", "node 1: 'share' must be a number"),
    ("hallucination", ["recurring", 0, "errors"], 0.5, "recurring, 0: 'errors' must be a whole number"),
    ("icl", ["runs"], {"zero-shot": {}}, "run 'zero-shot': the key 'metric' is missing"),
    ("icl", ["circuits", "few-shot"], None, "circuit 'few-shot' must be an object"),
    ("icl", ["added", 1, "attention", "query"], [1], "added, 1, 'attention': 'query' must be a number"),
    ("icl", ["ablations", "few-shot"], None, "ablation 'few-shot' must be an object"),
    ("icl", ["ablations", "zero-shot", "random_accuracy"], [1], "three numbers (low, mean, high)"),
    ("knockout", ["effects"], [], "nothing was measured"),
    ("knockout", ["effects", 0, "full"], {"metric": 1}, "effects, 0, 'full' must have 'per_prompt' values"),
    ("knockout", ["effects", 1, "random"], [], "the same number of random circuits, got [0, 2]"),
    ("knockout", ["text", "full"], 0, "text: 'full' must be a number above 0"),
    ("knockout", ["text"], 3, "text must be an object"),
    ("explain", ["model"], {}, "'num_layers' must be a whole number"),
    ("explain", ["edited_nodes"], ["m9"], "'m9' is not a node of"),
    ("explain", ["circuit", "nodes", "added"], ["a0.h9"], "'a0.h9' is not a node of"),
    ("explain", ["circuit", "edges", "lost"], None, "circuit, 'edges': 'lost' must be a list of names"),
    ("explain", ["curves", "new", "after", "last", "rank"], [3, 2], "'new', after, 'last': 'rank' must be 3"),
    ("explain", ["curves", "old"], {"before": {}}, "curves of 'old': the key 'after' is missing"),
    ("explain", ["changes", 0, "kind"], "new", "changes, 0: 'kind' must be one of edited, later heads"),
    ("explain", ["heads", 0, "after", "attention"], [1], "heads, 0, after: 'attention' must be 3 numbers"),
    ("explain", ["heads", 0, "after", "attention"], None, "'attention' must be a row of numbers"),
    ("explain", ["heads", 0, "before"], None, "heads, 0: 'before' must be an object"),
    ("explain", ["logits"], [1], "'logits' must be two numbers"),
    ("edits", ["edits", 0, "measures", "fluency"], "low", "edit 0, 'measures': 'fluency' must be a number"),
    ("edits", ["edits", 1, "failed"], None, "edit 1 must have either 'measures' or the reason"),
    ("edits", ["perplexity"], 3, "two numbers, before and after, or null"),
]


@pytest.mark.parametrize(("name", "place", "value", "message"), SPOILT, ids=lambda part: str(part)[:40])
def test_what_is_wrong_is_said(tmp_path, name, place, value, message):
    kind, make = MADE[name]
    document = make()
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document))
    with pytest.raises(KCircuitsError, match=f"{name}.json: ") as caught:
        kind.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": 3}', b'{"format": NaN}'])
def test_other_files(tmp_path, name, content):
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(KCircuitsError, match=r"some\.json: "):
        MADE[name][0].load(path)
