"""The axes of a sweep: what a file may say, and one clear error for everything else."""

from __future__ import annotations

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import options_of
from kcircuits.sweeps.grid import Grid, SweepPrompts, parse_grid
from kcircuits.sweeps.yaml_file import read_yaml
from kcircuits.task import PromptChoice


def parsed(path) -> Grid:
    return parse_grid(read_yaml(path), path.parent)


def test_axes_and_defaults(written, place):
    grid = parsed(written())
    assert [model.source for model in grid.models] == [str(place / "model")]
    assert [(method.name, method.options) for method in grid.methods] == [
        ("acdc", {"threshold": 0.3}),
        ("acdc", {"threshold": 0.1}),
        ("eap", {"top_n": 20}),
        ("eap", {"top_n": 60}),
    ]
    assert (grid.ablations, grid.metrics, grid.seeds, grid.memory) == (("corrupt",), ("nll",), (0,), 2**30)
    assert grid.analyses == {"evaluate": {"random": 2, "hit_k": 10}}


def test_lists_are_spanned(written, place):
    grid = parsed(
        written(
            models=[{"model": ["model", "demo"], "dtype": ["float32", "bfloat16"]}],
            prompts=[{"relation": ["relation.json", "country-capital"], "template": [0, 1]}],
            methods=[{"method": ["eap", "relp"], "top_n": [10, 20], "qk_fix": [False, True]}],
            seeds=[3, 1, 3],
            analyses=["curves", "roles"],
        )
    )
    assert [(model.source, model.dtype) for model in grid.models] == [
        (str(place / "model"), "float32"),
        (str(place / "model"), "bfloat16"),
        ("demo", "float32"),
        ("demo", "bfloat16"),
    ]
    assert [(each.name, each.template) for each in grid.prompts] == [
        ("country language", 0), ("country language", 1), ("country-capital", 0), ("country-capital", 1)
    ]  # fmt: skip
    assert len(grid.methods) == 8 and grid.seeds == (3, 1)
    assert grid.analyses == {"curves": {}, "roles": {"strongest": None, "random": 10}}


def test_keys_of_prompts_are_the_options_of_a_choice(written):
    known = list(options_of(PromptChoice))
    assert list(options_of(SweepPrompts)) == [*known, "measure_half"]
    with pytest.raises(KCircuitsError, match=f"the keys are {', '.join(known)}, measure_half"):
        parsed(written(prompts=[{"unknown": 1}]))


def test_prompts_in_full(written, place):
    values = {"template": 1, "limit": 2, "shuffle_seed": -3, "top_k": 4, "first_token": True}
    halves = {"half": "test", "measure_half": "validation", "split_seed": 5}
    (chosen,) = parsed(written(prompts=[{"relation": "relation.json"} | values | halves])).prompts
    relation = str(place / "relation.json")
    assert chosen == SweepPrompts(relation=relation, **values, **halves, name="country language")
    text = {"prompt": "In France they speak", "answer": "French", "corrupt": "In Spain they speak"}
    (chosen,) = parsed(written(prompts=[text | {"wrong": None}])).prompts
    assert chosen == SweepPrompts(**text, name="In France they speak")


def test_patterns_of_files(written, place):
    for name in ("b", "a"):
        (place / f"{name}-relation.json").write_bytes((place / "relation.json").read_bytes())
    grid = parsed(written(prompts=[{"relation": "*-relation.json"}]))
    assert [choice.source for choice in grid.prompts] == [
        str(place / "a-relation.json"),
        str(place / "b-relation.json"),
    ]


ENTRY = {"relation": "relation.json"}
BAD = [
    ({"model": "demo"}, "model: unknown key; the keys are models, prompts, methods"),
    ({"models": None}, "the key 'models' is missing"),
    ({"models": []}, "models: must be a list with at least one entry, got []"),
    ({"models": "demo"}, "models: must be a list with at least one entry, got 'demo'"),
    ({"models": [3]}, "models[0]: must be a mapping, got 3"),
    ({"models": [{"dtype": "float32"}]}, "models[0]: 'model' must be a folder, a .gguf file or demo"),
    ({"models": [{"model": "demo", "dtype": "int8"}]}, "models[0].dtype: must be one of float32, bfloat16"),
    ({"models": [{"model": "demo", "device": "gpu"}]}, "models[0].device: must be one of cpu, cuda"),
    ({"prompts": [{}]}, "prompts[0]: must be a mapping, got {}"),
    ({"prompts": [{"limit": 3}]}, "prompts[0]: give one of prompts, relation and prompt; got none"),
    ({"prompts": [ENTRY | {"prompts": "x"}]}, "relation and prompt; got prompts and relation"),
    ({"prompts": [{"relation": "none.json"}]}, "prompts[0].relation: no relation"),
    ({"prompts": [{"prompts": "none.jsonl"}]}, "none.jsonl is not a file"),
    ({"prompts": [{"relation": "none-*.json"}]}, "no file matches 'none-*.json'"),
    ({"prompts": [ENTRY | {"limit": 0}]}, "prompts[0].limit: must be a whole number from 1 on, got 0"),
    ({"prompts": [ENTRY | {"limit": []}]}, "prompts[0].limit: an empty list gives no jobs"),
    ({"prompts": [ENTRY | {"limt": 3}]}, "prompts[0].limt: unknown key; the keys are prompts, relation"),
    ({"prompts": [{"prompts": "prompts.jsonl", "top_k": 3}]}, "prompts[0].top_k: is for relation alone"),
    ({"prompts": [ENTRY | {"half": "first"}]}, "prompts[0].half: must be one of validation, test"),
    ({"prompts": [ENTRY | {"top_k": "10"}]}, "prompts[0].top_k: must be a whole number from 0 on, got '10'"),
    ({"prompts": [ENTRY | {"shuffle_seed": "1e3"}]}, "write 0.001 or 1.0e-3 instead of 1e-3"),
    ({"prompts": [{"prompt": "In"}]}, "prompts[0].prompt: needs answer"),
    ({"prompts": [ENTRY | {"split_seed": 1}]}, "prompts[0].split_seed: needs a half"),
    ({"methods": [{"threshold": 1}]}, "methods[0]: 'method' must be one of acdc, edge-pruning"),
    ({"methods": [{"method": "eap"}]}, "methods[0]: eap needs a top_n or a threshold"),
    ({"methods": [{"method": "acdc", "threshold": -1}]}, "methods[0]: threshold must be a finite number"),
    ({"methods": [{"method": "eap", "top_n": 3, "threshold": 1}]}, "methods[0]: give either a top-n"),
    ({"methods": [{"method": "eap", "top_m": 3}]}, "methods[0]: eap has no option 'top_m'"),
    ({"methods": [{"method": "acdc", "threshold": "1e-3"}]}, "write 0.001 or 1.0e-3 instead of 1e-3"),
    ({"methods": [{"method": "acdc", "threshold": 1, "keep_positions": 1}]}, "keep_positions: must be true"),
    ({"ablations": ["none"]}, "ablations[0]: must be one of zero, corrupt, mean, mean-positional"),
    ({"metrics": []}, "metrics: an empty list gives no jobs"),
    ({"seeds": [0, -1]}, "seeds[1]: must be a whole number from 0 on, got -1"),
    ({"analyses": ["rolls"]}, "analyses.rolls: unknown key; the keys are evaluate, curves, heads, roles"),
    ({"analyses": {"heads": {"top": 0}}}, "analyses.heads.top: must be a whole number from 1 on, got 0"),
    ({"analyses": {"heads": {"seed": 0}}}, "analyses.heads.seed: unknown key"),
    ({"analyses": {"heads": 3}}, "analyses.heads: must be a mapping of its options, got 3"),
    ({"memory": "lots"}, "memory: memory must be a number of bytes"),
    (
        {"seeds": list(range(1001)), "methods": [{"method": "acdc", "threshold": list(range(1000))}]},
        "1,001,000 jobs, but a sweep may have 1,000,000",
    ),
]  # fmt: skip


@pytest.mark.parametrize("changes, message", BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input(written, changes, message):
    path = written(**changes)
    with pytest.raises(KCircuitsError) as error:
        parsed(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_the_line_is_shown(place):
    path = place / "sweep.yaml"
    path.write_text(
        "models: [model]\nprompts: [{relation: relation.json}]\nmethods:\n- {method: acdc, tau: 3}\n"
    )
    with pytest.raises(KCircuitsError, match=r"\(line 4: '- {method: acdc, tau: 3}'\)"):
        parsed(path)


@pytest.mark.parametrize("text", ["", "3", "[a]", "{1: 2}"])
def test_no_mapping(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(KCircuitsError, match=r"must be a mapping|unknown key"):
        parsed(path)
