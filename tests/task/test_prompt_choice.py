"""Which prompts to use: what goes together, and how a choice becomes prompts."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from kcircuits.data.halves import split_halves
from kcircuits.data.prompts import read_prompts, tokenise
from kcircuits.data.relations import load_relation, relation_prompts
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model, load_model
from kcircuits.runtime.option_fields import OptionError, options_of
from kcircuits.task import PromptChoice, Task, TaskOptions
from kcircuits.task.prompt_choice import choose, choose_all, half_of
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import save, tiny_model
from tests.tasks import random_prompts_of

COUNTRIES = {"France": "French", "Spain": "Spanish", "Italy": "Italian", "Poland": "Polish"}
BAD = [
    ({}, "give one of prompts, relation and prompt; got none"),
    ({"prompts": "a", "relation": "b"}, "got prompts and relation"),
    ({"prompts": "a", "limit": 3}, "limit is for relation alone"),
    ({"relation": "a", "wrong": "b"}, "wrong is for prompt alone"),
    ({"prompt": "a"}, "prompt needs answer"),
    ({"relation": "a", "limit": 0}, "limit must be a whole number from 1 on, got 0"),
    ({"relation": "a", "template": -1}, "template must be a whole number from 0 on, got -1"),
    ({"relation": "a", "top_k": "many"}, "top_k must be a whole number from 0 on, got 'many'"),
    ({"prompts": "a", "split_seed": 1}, "split_seed needs a half"),
    ({"prompts": "a", "half": "first"}, "half must be one of validation, test, got 'first'"),
    ({"prompts": 3}, "prompts must be text, got 3"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    words = "In they speak also " + " ".join([*COUNTRIES, *COUNTRIES.values()])
    folder = save(tiny_model("llama_gqa"), tmp_path_factory.mktemp("worded") / "model")
    word_tokenizer(words).save_pretrained(folder)
    return load_model(folder)


@pytest.fixture
def relation(tmp_path) -> str:
    facts = [{"subject": subject, "object": answer} for subject, answer in COUNTRIES.items()]
    path = tmp_path / "relation.json"
    path.write_text(
        json.dumps({"name": "languages", "prompt_templates": ["In {} they speak"], "samples": facts})
    )
    return str(path)


def never(prompts):
    pytest.fail("ranks are not needed")


@pytest.mark.parametrize(("given", "message"), BAD, ids=[message for _, message in BAD])
def test_what_does_not_go_together(given, message):
    with pytest.raises(OptionError) as error:
        PromptChoice(**given)
    assert message in str(error.value)


def test_every_field_is_an_option():
    assert list(options_of(PromptChoice)) == list(asdict(PromptChoice(prompts="a")))


def test_what_is_recorded():
    choice = PromptChoice(relation="r", template=0, half="test", first_token=True)
    assert choice.given_options == {"relation": "r", "template": 0, "first_token": True}
    assert choice.half_settings == {"half": "test", "split_seed": 0}
    assert PromptChoice(prompts="p").half_settings == {}


def test_halves_of_a_circuit_are_kept():
    choice = PromptChoice(prompts="p", half="test")
    assert choice.split_as({"split_seed": 7}).split_seed == 7
    assert choice.split_as({"split_seed": "7"}) == choice == choice.split_as({})
    assert PromptChoice(prompts="p").split_as({"split_seed": 7}).split_seed is None
    given = PromptChoice(prompts="p", half="test", split_seed=0)
    assert given.split_as({"split_seed": 7}) == given


def test_a_file(model, tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [{"clean_ids": list(p.clean_ids), "answer_id": p.answer_id} for p in random_prompts_of([4, 3, 5])]
    path.write_text("\n".join(map(json.dumps, lines)))
    prompts = read_prompts(path, None, model.spec.vocab_size, model.spec.max_positions)
    choice = PromptChoice(prompts=str(path))
    assert choose(choice, model, never, with_partners=True).prompts == prompts
    half = PromptChoice(prompts=str(path), half="test", split_seed=2)
    chosen = choose(half, model, never, with_partners=True)
    assert chosen.prompts == split_halves(prompts, 2)[1] == half_of(prompts, "test", 2)
    assert chosen.dropped == {"in the other half": 2}
    assert choose_all(half, model, never, with_partners=True).prompts == prompts == half_of(prompts, None, 2)


def test_one_prompt(model):
    choice = PromptChoice(
        prompt="In France they speak", answer="French", corrupt="In Spain they speak", subject="France"
    )
    expected = tokenise(
        model.tokenizer,
        "In France they speak",
        "French",
        corrupt="In Spain they speak",
        subject="France",
        vocab_size=model.spec.vocab_size,
        max_positions=model.spec.max_positions,
    )
    chosen = choose(choice, model, never, with_partners=False)
    assert chosen.prompts == (expected,) and str(chosen) == "1 prompt"


@pytest.mark.parametrize("partners", [True, False])
def test_a_relation(model, relation, partners):
    spec = model.spec
    made = relation_prompts(
        load_relation(relation), model.tokenizer, spec.vocab_size, spec.max_positions, corrupt=partners
    ).prompts
    whole = PromptChoice(relation=relation, top_k=0)
    assert choose(whole, model, never, with_partners=partners).prompts == made
    first = PromptChoice(relation=relation, top_k=0, limit=2)
    assert choose(first, model, never, with_partners=partners).prompts == made[:2]


def test_only_facts_that_the_model_knows(model, relation):
    asked = []

    def ranks(prompts):
        asked.append(prompts)
        return [3, 11, 10, 40]

    chosen = choose(PromptChoice(relation=relation), model, ranks, with_partners=True)
    (whole,) = asked
    assert chosen.prompts == (whole[0], whole[2])
    assert chosen.dropped == {"answer not in the model's top 10": 2}
    with pytest.raises(KCircuitsError, match="has none of the 4 answers of 'languages' among its 2 most"):
        choose(PromptChoice(relation=relation, top_k=2), model, ranks, with_partners=True)


def test_a_task_takes_all_its_options():
    prompts = random_prompts_of([4, 3])
    options = TaskOptions("zero", "logit-diff", (), fold_value_biases=True, keep_positions=True)
    expected = Task(prompts, "zero", "logit-diff", fold_value_biases=True, keep_positions=True)
    assert Task.of(options, prompts) == expected
    assert Task.of(options, prompts, prompts[:1]).reference == tuple(prompts[:1])
    assert Task.of(TaskOptions(), prompts) == Task(prompts)


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (TaskOptions(), True),
        (TaskOptions("corrupt"), True),
        (TaskOptions("zero"), False),
        (TaskOptions("mean", "logit-diff"), True),
    ],
)
def test_when_a_relation_needs_partners(options, needs):
    assert options.needs_partners is needs
