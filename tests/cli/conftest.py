"""A tiny model with a tokenizer, prompts and a relation for it, and a way to run the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kcircuits.cli import run
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import save, tiny_model
from tests.tasks import random_prompts_of

COUNTRIES = {"France": "French", "Spain": "Spanish", "Italy": "Italian", "Poland": "Polish"}
WORDS = "In they speak also " + " ".join([*COUNTRIES, *COUNTRIES.values()])


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def kcircuits(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model with a tokenizer of `WORDS`."""
    folder = save(tiny_model("llama_gqa"), tmp_path_factory.mktemp("worded") / "model")
    word_tokenizer(WORDS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def relation_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A relation in the words of `worded`; one answer is no word of its tokenizer."""
    facts = COUNTRIES | {"Peru": "Quechua"}
    relation = {
        "name": "country language",
        "prompt_templates": ["In {} they speak", "In {} they also speak"],
        "samples": [{"subject": subject, "object": answer} for subject, answer in facts.items()],
    }
    path = tmp_path_factory.mktemp("relation") / "relation.json"
    path.write_text(json.dumps(relation))
    return path


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prompts as ids, with corrupt prompts and wrong answers."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "clean_ids": prompt.clean_ids,
                    "corrupt_ids": prompt.corrupt_ids,
                    "answer_id": prompt.answer_id,
                    "wrong_id": prompt.wrong_id,
                }
            )
            + "\n"
            for prompt in random_prompts_of([5, 3, 4])
        )
    )
    return path
