"""Keys: equal for equal work, different as soon as anything that determines a result is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kcircuits.model.identity import exact_identity
from kcircuits.model.loading import Model, load_model
from kcircuits.sweeps import keys
from kcircuits.sweeps.keys import digest_of_prompts, key_of
from tests.tasks import random_prompts_of


def test_order_makes_no_difference_and_content_does():
    assert key_of({"a": 1, "b": {"c": [1, 2], "d": 0.1}}) == key_of({"b": {"d": 0.1, "c": [1, 2]}, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2}) != key_of({"a": 2.5}) != key_of({"b": 1})
    with pytest.raises(ValueError, match="Out of range"):
        key_of({"a": float("nan")})


def test_the_algorithms_version_counts(monkeypatch):
    before = key_of({"a": 1})
    monkeypatch.setattr(keys, "ALGORITHMS", keys.ALGORITHMS + 1)
    assert key_of({"a": 1}) != before


def test_every_part_of_a_prompt_counts():
    prompts = random_prompts_of([4, 3])
    first = prompts[0]
    changed = [
        replace(first, clean_ids=(*first.clean_ids[:-1], (first.clean_ids[-1] + 1) % 60)),
        replace(first, answer_id=(first.answer_id + 1) % 60, wrong_id=None),
        replace(first, corrupt_ids=None),
        replace(first, wrong_id=None),
        replace(first, subject=(0, 2)),
        replace(first, text="text"),
    ]
    digests = {
        digest_of_prompts(each) for each in [prompts, prompts[::-1], *((one, prompts[1]) for one in changed)]
    }
    assert len(digests) == 8
    assert digest_of_prompts(prompts) == digest_of_prompts(list(random_prompts_of([4, 3])))


def test_a_model_is_its_weights_its_configuration_and_how_it_is_kept(tiny_folder, tmp_path):
    folder = tiny_folder("llama_gqa")
    same = tmp_path / "another-name"
    same.symlink_to(folder)
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text())
    (other / "config.json").unlink()
    config["rope_parameters"] = config["rope_parameters"] | {"rope_theta": 123.0}
    (other / "config.json").write_text(json.dumps(config))

    def described(model: Model) -> dict[str, str]:
        return exact_identity(model.identity, model.spec)

    content = described(load_model(folder))
    assert described(load_model(same)) == content
    rotated = described(load_model(other))
    assert rotated["weights"] == content["weights"] and rotated != content
    assert described(load_model(folder, dtype="q8")) != content
