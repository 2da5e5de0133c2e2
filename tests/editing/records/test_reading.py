"""Edits in files: our own lines, CounterFact's and zsRE's records, and what is refused."""

from __future__ import annotations

import json

import pytest

from kcircuits.editing.records.reading import read_requests
from kcircuits.editing.request import EditRequest, Question
from kcircuits.errors import KCircuitsError

OURS = {
    "subject": "France",
    "prompt": "The capital of {} is",
    "target": "Rome",
    "target_true": "Paris",
    "paraphrases": ["France is ruled from"],
    "neighbours": [{"prompt": "The capital of Spain is", "answer": "Madrid"}],
}
COUNTERFACT = {
    "case_id": 0,
    "requested_rewrite": {
        "prompt": "The capital of {} is",
        "target_new": {"str": "Rome", "id": "Q220"},
        "target_true": {"str": "Paris", "id": "Q90"},
        "subject": "France",
    },
    "paraphrase_prompts": ["France is ruled from"],
    "neighborhood_prompts": ["The capital of Gaul was"],
}
ZSRE = {
    "subject": "France",
    "src": "What is the capital of France?",
    "pred": "Lyon",
    "rephrase": "Which city rules France?",
    "alt": "Rome",
    "answers": ["Paris"],
    "loc": "nq question: who wrote hamlet",
    "loc_ans": "Shakespeare",
}


def written(tmp_path, *records: object):
    path = tmp_path / "edits.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


def test_our_own_lines(tmp_path):
    assert read_requests(written(tmp_path, OURS)) == (
        EditRequest(
            "France",
            "The capital of France is",
            "Rome",
            "Paris",
            ("France is ruled from",),
            (Question("The capital of Spain is", "Madrid"),),
        ),
    )


def test_counterfact(tmp_path):
    path = tmp_path / "counterfact.json"
    path.write_text(json.dumps([COUNTERFACT, COUNTERFACT]))
    read = read_requests(path)
    assert len(read) == 2
    assert read[0].prompt == "The capital of France is"
    assert (read[0].target, read[0].target_true) == ("Rome", "Paris")
    assert read[0].neighbours == (Question("The capital of Gaul was", "Paris"),)


def test_zsre(tmp_path):
    (read,) = read_requests(written(tmp_path, ZSRE))
    assert (read.target, read.target_true) == ("Rome", "Paris")
    assert read.paraphrases == ("Which city rules France?",)
    assert read.neighbours == (Question("who wrote hamlet", "Shakespeare"),)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "JSON object"),
        ({**OURS, "subject": "Spain", "prompt": "The capital of France is"}, "does not occur"),
        ({**OURS, "target": " "}, "'target' is empty"),
        ({**OURS, "target": "Paris"}, "true already"),
        ({**OURS, "target": 3}, "'target' must be text"),
        ({**OURS, "paraphrases": "one"}, "list of texts"),
        ({**OURS, "neighbours": ["one"]}, "neighbours"),
        ({**OURS, "neighbours": [{"prompt": "x"}]}, "'answer' must be text"),
        ({"requested_rewrite": 1}, "must be an object"),
        ({**COUNTERFACT, "requested_rewrite": {"subject": "France"}}, "target_new"),
        ({**ZSRE, "alt": None}, "'alt' must be text"),
    ],
)
def test_bad_records_are_named_by_their_number(tmp_path, record, message):
    with pytest.raises(KCircuitsError, match=message) as error:
        read_requests(written(tmp_path, OURS, record))
    assert "edit 2" in str(error.value)


def test_files_that_hold_no_edit(tmp_path):
    for content, message in (("", "no edits"), ("[]", "no edits"), ("{", "not JSON"), ("[{]", "not JSON")):
        path = tmp_path / "edits"
        path.write_text(content)
        with pytest.raises(KCircuitsError, match=message):
            read_requests(path)
    with pytest.raises(KCircuitsError):
        read_requests(tmp_path / "missing.jsonl")
