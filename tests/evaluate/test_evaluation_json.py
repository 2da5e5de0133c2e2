"""evaluation.json gives the evaluation back, and is refused unless it is what it should be."""

from __future__ import annotations

import copy
import json

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import Evaluation
from kcircuits.evaluation.evaluation_json import read_evaluation
from tests.report.results import evaluation


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evaluation.json"


def test_round_trip(path):
    path.write_text(json.dumps(evaluation().to_json()))
    assert Evaluation.load(path) == evaluation()


def test_what_follows_is_not_believed(path):
    document = evaluation().to_json() | {"faithfulness": 17.0, "p_value": 0.0}
    path.write_text(json.dumps(document))
    assert Evaluation.load(path).faithfulness == evaluation().faithfulness


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["model"], None, "'model' must be an object"),
        (["ablation"], "<b>", "'ablation' must be one of zero, corrupt"),
        (["ablation"], [], "'ablation' must be one of"),
        (["metric"], "accuracy", "'metric' must be one of nll"),
        (["fold_value_biases"], 1, "'fold_value_biases' must be true or false"),
        (["num_edges"], -1, "'num_edges' must be a whole number from 0 on"),
        (["hit_k"], 0, "'hit_k' must be a whole number from 1 on"),
        (["random"], {}, "'random' must be a list of runs"),
        (["random", 0], "run", "the run 'random 0' must have 'per_prompt' values"),
        (["full"], {}, "the run 'full' must have 'per_prompt' values"),
        (["empty", "per_prompt", "kl"], [], "the run 'empty': 'kl' must be a list of numbers"),
        (["empty", "per_prompt", "kl"], ["1", 2, 3], "the run 'empty': 'kl' must be a list of numbers"),
        (["circuit", "per_prompt", "rank"], [1, 2], "the run 'circuit': 'rank' has 2 prompts, and others"),
    ],
)
def test_bad_values(path, keys, value, message):
    document = copy.deepcopy(evaluation().to_json())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(KCircuitsError) as error:
        read_evaluation(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["model", "full", "random", "seed"])
def test_missing_keys(path, key):
    document = evaluation().to_json()
    del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(KCircuitsError, match=key):
        read_evaluation(path)
