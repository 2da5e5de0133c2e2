"""Relation files, bundled and foreign, and the prompts made of them."""

from __future__ import annotations

import json

import pytest
import torch

from kcircuits.data.lre import Fact, Relation, parse_relation
from kcircuits.data.prompts import Prompt, batch
from kcircuits.data.relations import (
    BUNDLED,
    bundled_relations,
    known_prompts,
    load_relation,
    relation_prompts,
)
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import word_tokenizer
from tests.shared import SHARED, shared_path

TOKENIZER = word_tokenizer(
    "In people speak Spain Peru France Brazil New Zealand Great Britain Spanish French English Swiss German",
    bos=True,
)
BOUNDS = {"vocab_size": 30, "max_positions": 10}


def record(*samples, **changes):
    return {
        "name": "language",
        "prompt_templates": ["In {} people speak"],
        "samples": [{"subject": subject, "object": answer} for subject, answer in samples],
    } | changes


def relation(*samples):
    return parse_relation(record(*samples))


def words_of(ids):
    return " ".join(TOKENIZER.convert_ids_to_tokens(list(ids)))


# --- files ---


def test_the_schema_is_read(tmp_path):
    path = tmp_path / "language.json"
    content = record(
        ("Spain", "Spanish"),
        prompt_templates_zs=["{}:", "In {} people speak"],
        properties={"symmetric": False},
        source="a key beyond the schema",
    )
    path.write_text(json.dumps(content))
    assert (
        load_relation(path)
        == load_relation(str(path))
        == Relation(
            name="language",
            templates=("In {} people speak", "{}:"),
            facts=(Fact("Spain", ("Spanish",)),),
            properties={"symmetric": False},
            merged={},
        )
    )


def test_untidy_samples():
    made = parse_relation(
        record(
            ("Spain ", "Spanish"),
            ("Swiss", "German"),
            ("Spain", "Spanish"),
            ("Swiss", "French"),
            ("Peru", ""),
            ("", "English"),
            ("Peru", None),
        )
        | {"prompt_templates_zs": []}
    )
    assert made.facts == (Fact("Spain", ("Spanish",)), Fact("Swiss", ("German", "French")))
    assert made.merged == {"repeated": 1, "further object of its subject": 1, "empty subject or object": 3}
    assert parse_relation(record() | {"samples": [{}, {"subject": "a", "object": "b"}]}).merged == {
        "empty subject or object": 1
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "'name' must be text, got None"),
        ({"name": " "}, "'name' must be text"),
        ({"properties": []}, "'properties' must be an object"),
        ({"prompt_templates": []}, "'prompt_templates' is missing or empty"),
        ({"prompt_templates": "In {}"}, "'prompt_templates' must be a list of texts"),
        ({"prompt_templates": ["In people speak"]}, "one {} for the subject, got 'In people speak'"),
        ({"prompt_templates_zs": ["{} and {}"]}, "one {} for the subject, got '{} and {}'"),
        ({"prompt_templates": [3]}, "one {} for the subject, got 3"),
        ({"samples": None}, "'samples' must be a list"),
        ({"samples": []}, "no sample with a subject and an object"),
        ({"samples": ["Spain"]}, "sample 1 must be an object, got 'Spain'"),
        ({"samples": [{"subject": "a", "object": 3}]}, "subject and object of sample 1 must be text"),
        ({"samples": [{"subject": "a", "object": ""}]}, "no sample with a subject and an object"),
    ],
)
def test_bad_relation_files(tmp_path, changes, message):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(record(("Spain", "Spanish")) | changes))
    with pytest.raises(KCircuitsError, match=f"relation {path}: ") as caught:
        load_relation(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [("{,", "not JSON"), ("[]", "expected a JSON object")])
def test_files_that_hold_something_else(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(KCircuitsError, match=f"relation {path}: {message}"):
        load_relation(path)


@pytest.mark.parametrize("source", ["country-currency", "x" * 5000, "a\0b"])
def test_an_unknown_name_lists_the_bundled_ones(source):
    with pytest.raises(KCircuitsError, match=r"no relation .*adjective-antonym, .*country-language"):
        load_relation(source)


# --- prompts ---


def test_prompts_know_their_subject():
    made = relation_prompts(relation(("Spain", "Spanish"), ("New Zealand", "English")), TOKENIZER, **BOUNDS)
    spain, zealand = made.prompts
    assert words_of(spain.clean_ids) == "<s> In Spain people speak"
    assert words_of(zealand.clean_ids[slice(*zealand.subject)]) == "New Zealand"
    assert [words_of([prompt.answer_id]) for prompt in made.prompts] == ["Spanish", "English"]
    assert (made.relation, made.template, made.dropped) == ("language", "In {} people speak", {})


def test_braces_in_a_subject_are_text():
    made = relation_prompts(relation(("Spain {} {0}", "Spanish")), TOKENIZER, **BOUNDS)
    assert made.prompts[0].text == "In Spain {} {0} people speak"


def test_a_partner_has_as_many_tokens_and_no_object_in_common():
    made = relation_prompts(
        relation(
            ("Spain", "Spanish"),
            ("Peru", "Spanish"),
            ("New Zealand", "English"),
            ("Swiss", "German"),
            ("Swiss", "French"),
            ("France", "French"),
            ("Great Britain", "English"),
        ),
        TOKENIZER,
        **BOUNDS,
        corrupt=True,
    )
    pairs = {
        prompt.text.split()[1]: (words_of(prompt.corrupt_ids).split()[2], words_of([prompt.wrong_id]))
        for prompt in made.prompts
    }
    assert pairs == {
        "Spain": ("Swiss", "German"),  # the next one that differs; Peru does not
        "Peru": ("Swiss", "German"),
        "Swiss": ("Spain", "Spanish"),  # not France: French is true of both
        "France": ("Spain", "Spanish"),  # from the end on to the beginning
    }
    assert made.dropped == {"further object of its subject": 1, "no partner to corrupt with": 2}
    assert batch(made.prompts).corrupt is not None


def test_first_tokens_that_coincide_are_no_pair():
    samples = (("Spain", "New Spanish"), ("Peru", "New Zealand"), ("France", "French"))
    made = relation_prompts(relation(*samples), TOKENIZER, **BOUNDS, corrupt=True, allow_multi_token=True)
    answers = [(words_of([prompt.answer_id]), words_of([prompt.wrong_id])) for prompt in made.prompts]
    assert answers == [("New", "French"), ("New", "French"), ("French", "New")]


def test_every_sample_gives_a_prompt_or_a_reason():
    samples = [
        ("Spain", "Spanish"),
        ("Spain", "Spanish"),
        ("Peru", "Klingon"),
        ("France", "Swiss German"),
        ("Brazil", ""),
        ("New Zealand", "English"),
    ]
    made = relation_prompts(relation(*samples), TOKENIZER, **BOUNDS)
    assert made.dropped == {
        "answer not in the vocabulary": 1,
        "answer of several tokens": 1,
        "empty subject or object": 1,
        "repeated": 1,
    }
    assert len(made.prompts) + sum(made.dropped.values()) == len(samples)
    allowed = relation_prompts(relation(*samples), TOKENIZER, **BOUNDS, allow_multi_token=True)
    assert "answer of several tokens" not in allowed.dropped and len(allowed.prompts) == 3


def test_limit_and_shuffle():
    words = word_tokenizer("In people speak " + " ".join(f"c{index} l{index}" for index in range(12)))
    twelve = relation(*((f"c{index}", f"l{index}") for index in range(12)))

    def texts(**options):
        return [prompt.text for prompt in relation_prompts(twelve, words, 40, 10, **options).prompts]

    assert texts(limit=2) == ["In c0 people speak", "In c1 people speak"]
    assert texts(limit=99) == texts()
    assert texts(shuffle_seed=1) != texts() and sorted(texts(shuffle_seed=1)) == sorted(texts())
    assert texts(shuffle_seed=1) == texts(shuffle_seed=1) != texts(shuffle_seed=2)
    assert texts(shuffle_seed=1, limit=3) == texts(shuffle_seed=1)[:3]
    (one,) = relation_prompts(twelve, words, 40, 10, limit=1, corrupt=True).prompts
    assert words.decode(one.corrupt_ids) == "In c1 people speak"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": 1}, "relation 'language' has templates 0 to 0, got 1"),
        ({"template": -1}, "got -1"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"tokenizer": None}, "subject 'Spain': this model has no tokenizer"),
        ({"max_positions": 4}, "subject 'Spain': the prompt has 5 tokens, but the model has 4 positions"),
        ({"corrupt": True}, "no sample of relation 'language' gives a prompt: 1 no partner to corrupt with"),
    ],
)
def test_bad_options(options, message):
    arguments = {"tokenizer": TOKENIZER, **BOUNDS} | options
    with pytest.raises(KCircuitsError, match=message):
        relation_prompts(relation(("Spain", "Spanish")), **arguments)


def test_no_prompt_at_all_says_why_and_what_to_do():
    several = relation(("Spain", "New Zealand"), ("Peru", "Great Britain"), ("France", "Klingon"))
    with pytest.raises(
        KCircuitsError,
        match=r"gives a prompt: 2 answer of several tokens, 1 answer not in .*allow_multi_token=True",
    ):
        relation_prompts(several, TOKENIZER, **BOUNDS)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_known_prompts(as_tensor):
    prompts = [Prompt((1, 2), answer) for answer in range(4)]
    ranks = [1, 10, 11, 4]
    ranks = torch.tensor(ranks) if as_tensor else ranks
    assert known_prompts(prompts, ranks) == (prompts[0], prompts[1], prompts[3])
    assert known_prompts(prompts, ranks, k=1) == (prompts[0],)
    with pytest.raises(KCircuitsError, match="4 ranks for 3 prompts"):
        known_prompts(prompts[:3], ranks)
    with pytest.raises(KCircuitsError, match="k must be at least 1, got 0"):
        known_prompts(prompts, ranks, k=0)


# --- the bundled relations, and the dataset whose schema they share ---


def test_what_is_bundled():
    assert set(bundled_relations()) >= {
        "adjective-antonym",
        "adjective-comparative",
        "company-product",
        "country-capital",
        "country-language",
        "landmark-city",
    }
    assert "The official language of {} is" in load_relation("country-language").templates


@pytest.mark.parametrize("name", bundled_relations())
def test_bundled_relations_are_tidy(name):
    content = json.loads((BUNDLED / f"{name}.json").read_text(encoding="utf-8"))
    assert set(content) == {"name", "prompt_templates", "prompt_templates_zs", "properties", "samples"}
    assert set(content["properties"]) == {"relation_type", "domain_name", "range_name", "symmetric"}
    made = load_relation(name)
    assert made.name == name.replace("-", " ")
    assert not made.merged  # no duplicates, nothing empty, one object per subject
    assert all(len(fact.objects) == 1 for fact in made.facts)
    assert 25 <= len(made.facts) <= 60
    assert len(content["prompt_templates"]) >= 3
    assert all(template == template.strip() for template in made.templates)


@pytest.mark.slow
@pytest.mark.parametrize("name", bundled_relations())
def test_bundled_relations_suit_the_demo_model(demo, name):
    made = load_relation(name)
    bounds = (demo.spec.vocab_size, demo.spec.max_positions)
    for template in range(len(made.templates)):
        plain = relation_prompts(made, demo.tokenizer, *bounds, template=template)
        assert len(plain.prompts) >= 0.8 * len(made.facts)
        paired = relation_prompts(made, demo.tokenizer, *bounds, template=template, corrupt=True)
        assert len(paired.prompts) >= 0.7 * len(made.facts)


LRE_FILES = sorted((SHARED / "data" / "lre").glob("*/*.json"))


def test_the_dataset_is_complete():
    shared_path("data", "lre")
    assert len(LRE_FILES) == 47


@pytest.mark.parametrize("path", LRE_FILES, ids=lambda path: path.stem)
def test_the_dataset_is_readable(path):
    made = load_relation(path)
    samples = json.loads(path.read_text(encoding="utf-8"))["samples"]
    assert len(made.facts) + sum(made.merged.values()) == len(samples)
    words = " ".join(f"{fact.subject} {fact.objects[0]}" for fact in made.facts)
    tokenised = relation_prompts(made, word_tokenizer(words), 100_000, 100, allow_multi_token=True)
    assert len(tokenised.prompts) + sum(tokenised.dropped.values()) == len(samples)
