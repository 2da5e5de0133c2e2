"""From a grid to jobs: each once, and under keys that hold all that determines a result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kcircuits.data.relations import load_relation, relation_prompts
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import load_model
from kcircuits.sweeps.expand import ExpandedGrid, expand
from kcircuits.sweeps.grid import parse_grid
from kcircuits.sweeps.store import Store
from kcircuits.sweeps.yaml_file import read_yaml
from tests.sweep.conftest import RELATION


def expanded(path: Path, out: Path | None = None, *, keep: bool = False) -> ExpandedGrid:
    document = read_yaml(path)
    store = Store(out or path.parent / "out")
    return expand(parse_grid(document, path.parent), document, store.parts, keep=keep)


def test_jobs_and_what_they_share(written):
    found = expanded(written(seeds=[0, 1]))
    jobs = list(found.jobs.values())
    assert len(jobs) == 8 and not found.refused
    assert [job.labels["selection"] for job in jobs[::2]] == [
        "threshold=0.3", "threshold=0.1", "top_n=20", "top_n=60"
    ]  # fmt: skip
    assert len({job.search.key for job in jobs}) == 4  # seeds are of the evaluation, not of the search
    assert len({job.search.scores_key for job in jobs}) == 2  # none, and those of both sizes
    assert all(job.needs > 0 for job in jobs)


@pytest.mark.parametrize(
    ("method", "ablation", "parts"),
    [("eap", "corrupt", 3), ("eap", "mean", 0), ("exact", "corrupt", 0), ("acdc", "corrupt", 0)],
)
def test_what_is_scored_in_parts(written, long_prompts, method, ablation, parts):
    """Sums over prompts, unless each part would have to average over all prompts first."""
    options = {"threshold": 0.1} if method == "acdc" else {"top_n": 20}
    changes = {"methods": [{"method": method, **options}], "ablations": [ablation], "analyses": None}
    (job,) = expanded(written(prompts=[{"prompts": "long.jsonl"}], **changes)).jobs.values()
    assert job.search.score_parts == parts


def test_prompts_are_those_of_the_relation(written, place):
    job = next(iter(expanded(written()).jobs.values()))
    model = load_model(place / "model")
    made = relation_prompts(
        load_relation(place / "relation.json"),
        model.tokenizer,
        model.spec.vocab_size,
        model.spec.max_positions,
        limit=2,
        corrupt=True,
    )
    assert job.search.task.prompts == job.prompts == made.prompts


def test_one_prompt_as_text(written):
    text = {"prompt": "In France they speak", "answer": "French", "corrupt": "In Spain they speak"}
    job = next(iter(expanded(written(prompts=[text])).jobs.values()))
    (prompt,) = job.search.task.prompts
    assert (prompt.text, job.prompts) == (text["prompt"], (prompt,))
    assert (job.labels["relation"], job.labels["template"]) == (text["prompt"], None)
    with pytest.raises(KCircuitsError, match=r"prompts\[0\]: 'answer' 'Klingon' is not|Klingon"):
        expanded(written(prompts=[text | {"answer": "Klingon"}]))


def test_halves(written):
    entry = {"relation": "relation.json", "top_k": 0, "half": "validation", "measure_half": "test"}
    job = next(iter(expanded(written(prompts=[entry])).jobs.values()))
    assert len(job.search.task.prompts) == len(job.prompts) == 2
    assert not set(job.search.task.prompts) & set(job.prompts)


@pytest.mark.parametrize("analyses", [None, ["heads"]])
def test_a_seed_that_changes_nothing_makes_no_job(written, analyses):
    found = expanded(written(seeds=[0, 1, 2], analyses=analyses))
    assert len(found.jobs) == 4
    assert {job.labels["seed"] for job in found.jobs.values()} == {None}


def test_a_seed_of_the_method(written):
    methods = [{"method": "edge-pruning", "top_n": 40, "steps": 3}]
    jobs = list(expanded(written(methods=methods, seeds=[0, 1], analyses=None)).jobs.values())
    assert [job.search.method.seed for job in jobs] == [0, 1] == [job.labels["seed"] for job in jobs]
    methods = [{"method": "edge-pruning", "top_n": 40, "steps": 3, "seed": [5, 6]}]
    jobs = list(expanded(written(methods=methods, seeds=[0, 1], analyses=None)).jobs.values())
    assert [job.search.method.seed for job in jobs] == [5, 6]


def test_equal_jobs_are_one_wherever_they_come_from(written, place):
    first = expanded(written())
    (place / "copy").symlink_to(place / "model")
    (place / "again.json").write_text(json.dumps(RELATION | {"name": "another name"}))
    entries = [{"relation": ["relation.json", "again.json"], "top_k": 0, "limit": [2, 3]}]
    second = expanded(written(models=["copy", "model"], prompts=entries, memory="300MiB"))
    assert len(second.jobs) == 8
    assert first.jobs.keys() < second.jobs.keys()


CHANGES = [
    {"ablations": ["zero"]},
    {"metrics": ["logit-diff"]},
    {"seeds": [7]},
    {"analyses": {"evaluate": {"random": 3}}},
    {"prompts": [{"relation": "relation.json", "top_k": 0, "limit": 3}]},
    {"prompts": [{"relation": "relation.json", "top_k": 0, "limit": 2, "template": 1}]},
    {"models": [{"model": "model", "dtype": "bfloat16"}]},
    {"methods": [{"method": "acdc", "threshold": [0.3, 0.1], "absolute": True}]},
    {"methods": [{"method": "acdc", "threshold": [0.3, 0.1], "keep_positions": True}]},
]


@pytest.mark.parametrize("change", CHANGES, ids=map(str, CHANGES))
def test_whatever_changes_a_result_changes_the_key(written, change):
    assert expanded(written()).jobs.keys().isdisjoint(expanded(written(**change)).jobs)


def test_ranks_are_kept(written, place, monkeypatch):
    path = written(prompts=[{"relation": "relation.json", "top_k": 30}])
    expanded(path)
    assert not (place / "out").exists()
    before = expanded(path, keep=True)
    monkeypatch.setattr("kcircuits.sweeps.ranks.answer_ranks", None)
    after = expanded(path, keep=True)
    assert after.jobs.keys() == before.jobs.keys() != set()
    assert not list((place / "out" / "jobs").glob("*"))


def test_what_some_prompts_make_impossible_is_refused_alone(written, place):
    strange = RELATION | {"name": "../../strange", "samples": [{"subject": "France", "object": "Quechua"}]}
    (place / "strange.json").write_text(json.dumps(strange))
    found = expanded(
        written(prompts=[{"relation": ["relation.json", "strange.json"], "top_k": 0, "limit": 2}])
    )
    assert len(found.jobs) == 4 and len(found.refused) == 4
    refused = next(iter(found.refused.values()))
    assert "gives a prompt" in refused.error and refused.labels["relation"] == "../../strange"
    again = expanded(written(prompts=[{"relation": "strange.json", "top_k": 0, "limit": 2}]))
    assert again.refused.keys() == found.refused.keys()


ONE = {"relation": "relation.json", "top_k": 0, "limit": 1}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"models": ["none"]}, r"models\[0\]: model .* does not exist.*\(line 2: '- none'\)"),
        ({"metrics": ["nll", "kl"]}, r"methods\[1\]: with corrupt ablation and kl: eap cannot"),
        ({"prompts": [{"prompts": "bad.jsonl"}]}, r"prompts\[0\]: .*bad.jsonl, line 1: not JSON"),
        ({"prompts": [{"prompts": "prompts.jsonl"}], "analyses": ["roles"]},
         "roles needs a subject in each prompt"),
        ({"ablations": ["mean-positional"], "prompts": [ONE]}, "all prompts are the same"),
    ],
)  # fmt: skip
def test_what_no_prompts_make_possible_is_bad_input(written, place, change, message):
    (place / "bad.jsonl").write_text("{")
    with pytest.raises(KCircuitsError, match=message):
        expanded(written(**change))
