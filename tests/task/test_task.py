"""Tasks are complete or refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import load_model
from kcircuits.task import Task
from tests.analysis.models import model_of
from tests.data.tiny_tokenizers import word_tokenizer
from tests.tasks import random_prompts_of

FULL = random_prompts_of([4, 2])
BARE = tuple(replace(prompt, corrupt_ids=None, wrong_id=None) for prompt in FULL)


@pytest.mark.parametrize("ablation", ["zero", "corrupt"])
@pytest.mark.parametrize("metric", ["nll", "kl", "logit-diff"])
def test_what_is_needed(ablation, metric):
    Task(FULL, ablation, metric)
    if (ablation, metric) in (("zero", "nll"), ("zero", "kl")):
        Task(BARE, ablation, metric)
    else:
        with pytest.raises(KCircuitsError, match="for every prompt, but prompt 2 has none"):
            Task((FULL[0], BARE[1]), ablation, metric)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((),), "there are no prompts"),
        ((FULL, "noise"), "ablation must be one of zero, corrupt, mean, mean-positional; got 'noise'"),
        ((FULL, "zero", None), "metric must be one of nll, kl, logit-diff; got None"),
    ],
)
def test_bad_tasks(arguments, message):
    with pytest.raises(KCircuitsError, match=message):
        Task(*arguments)


@pytest.mark.parametrize(
    ("prompts", "expected"), [(FULL, "corrupt"), (BARE, "zero"), ((FULL[0], BARE[1]), "zero")]
)
def test_the_default_ablation(prompts, expected):
    assert Task(prompts).ablation == expected


def test_equal_by_content_and_through_json():
    task = Task(FULL, metric="logit-diff", reference=BARE, fold_value_biases=True)
    again = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task and hash(again) == hash(task)
    assert again != replace(task, fold_value_biases=False)
    assert len(repr(task)) < 120


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "kcircuits/1"}, "not a task"),
        ({"prompts": [{"clean_ids": ["a"], "answer_id": 1}]}, "'clean_ids' must be a list of ids"),
        ({"prompts": []}, "there are no prompts"),
        ({"keep_positions": 1}, "'keep_positions' must be true or false"),
    ],
)
def test_bad_json(change, message):
    with pytest.raises(KCircuitsError, match=message):
        Task.from_json(Task(FULL).to_json() | change)


@pytest.mark.parametrize("given", ["text", ["text"], 3])
def test_what_is_no_prompt(given):
    with pytest.raises(KCircuitsError, match="prompts must be"):
        Task(given)


def test_from_a_file(tiny_folder, tmp_path):
    model = load_model(tiny_folder("gpt2"))
    written = [
        {"clean_ids": list(p.clean_ids), "corrupt_ids": list(p.corrupt_ids), "answer_id": p.answer_id}
        for p in FULL
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, written)))
    task = Task.from_file(model, file, metric="kl")
    assert task == Task(tuple(replace(prompt, wrong_id=None) for prompt in FULL), metric="kl")
    assert (task.ablation, task.metric) == ("corrupt", "kl")


def test_from_a_relation(tmp_path):
    """Facts in the relation's order, each with another one as its partner."""
    model = replace(
        model_of("llama_gqa"), tokenizer=word_tokenizer("In they speak France French Spain Spanish")
    )
    facts = {
        "France": "French",
        "Spain": "Spanish",
        "Peru": "Quechua",
    }  # the last is no word of the tokenizer
    relation = {
        "name": "language",
        "prompt_templates": ["In {} they speak", "{} they speak In"],
        "samples": [{"subject": subject, "object": answer} for subject, answer in facts.items()],
    }
    file = tmp_path / "relation.json"
    file.write_text(json.dumps(relation))
    task = Task.from_relation(model, file, template=1, metric="logit-diff")
    pairs = [
        ("France they speak In", "French", "Spain they speak In"),
        ("Spain they speak In", "Spanish", "France they speak In"),
    ]
    expected = [
        model.prompt(*pair, wrong, text.split()[0])
        for pair, wrong, (text, *_) in zip(pairs, ("Spanish", "French"), pairs, strict=True)
    ]
    assert task == Task(expected, "corrupt", "logit-diff")
    assert Task.from_relation(model, file, template=1, limit=1) == Task(expected[:1])
    shuffled = {Task.from_relation(model, file, limit=1, shuffle_seed=seed).prompts for seed in range(8)}
    assert len(shuffled) == 2
    with pytest.raises(KCircuitsError, match="limit must be a whole number from 1 on, got 0"):
        Task.from_relation(model, file, limit=0)
    with pytest.raises(KCircuitsError, match="no relation 'planets'"):
        Task.from_relation(model, "planets")
