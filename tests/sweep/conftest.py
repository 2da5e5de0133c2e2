"""A folder with a tiny model, a relation, prompts, and a way to write a sweep beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import save, tiny_model
from tests.tasks import random_prompts_of

FACTS = {"France": "French", "Spain": "Spanish", "Italy": "Italian", "Poland": "Polish"}
WORDS = "In they speak also " + " ".join([*FACTS, *FACTS.values()])
RELATION = {
    "name": "country language",
    "prompt_templates": ["In {} they speak", "In {} they also speak"],
    "samples": [{"subject": subject, "object": answer} for subject, answer in FACTS.items()],
}
SWEEP: dict[str, Any] = {
    "models": ["model"],
    "prompts": [{"relation": "relation.json", "top_k": 0, "limit": 2}],
    "methods": [{"method": "acdc", "threshold": [0.3, 0.1]}, {"method": "eap", "top_n": [20, 60]}],
    "ablations": ["corrupt"],
    "analyses": {"evaluate": {"random": 2}},
}
"""Four jobs on the tiny model."""

Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model`, `relation.json` and `prompts.jsonl`; read it, never write to it."""
    folder = tmp_path_factory.mktemp("files")
    save(tiny_model("llama_gqa"), folder / "model")
    word_tokenizer(WORDS).save_pretrained(folder / "model")
    (folder / "relation.json").write_text(json.dumps(RELATION))
    write_prompts(folder / "prompts.jsonl", [5, 3, 4])
    return folder


def write_prompts(path: Path, lengths: list[int]) -> None:
    """Pairs of random prompts of so many tokens."""
    keys = ("clean_ids", "corrupt_ids", "answer_id", "wrong_id")
    rows = [{key: getattr(prompt, key) for key in keys} for prompt in random_prompts_of(lengths)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def place(tiny_files: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_files` of the test's own."""
    return Path(shutil.copytree(tiny_files, tmp_path / "place"))


@pytest.fixture
def long_prompts(place: Path) -> None:
    """`long.jsonl`, which is scored in three parts."""
    write_prompts(place / "long.jsonl", [6, 5] * 60)


@pytest.fixture
def written(place: Path) -> Writer:
    """Write SWEEP with changes as a YAML file into `place`; a value of None takes the key away."""

    def write(name: str = "sweep.yaml", **changes: Any) -> Path:
        document = {key: value for key, value in (SWEEP | changes).items() if value is not None}
        path = place / name
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write
