"""A tiny model that reads words, and facts about it to edit."""

from __future__ import annotations

import pytest

from kcircuits.editing.request import EditRequest, Question
from kcircuits.model.identity import identity_of
from kcircuits.model.loading import Model
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import tiny_spec

WORDS = (
    "The Therefore Because I You Paris Rome Lima Oslo is a the city of in land capital big old "
    "France Italy Peru Norway lies . {}"
)


def model_named(name: str) -> Model:
    """A tiny model of a family with a tokenizer of whole words."""
    spec = tiny_spec(name)
    return Model(spec, word_tokenizer(WORDS), identity_of(name, spec, "0" * 64))


@pytest.fixture
def model() -> Model:
    return model_named("llama_gqa")


def request(**changes: object) -> EditRequest:
    fields = {
        "subject": "Paris",
        "prompt": "the city Paris lies in",
        "target": "Norway",
        "target_true": "France",
        "paraphrases": ("Paris is a city of",),
        "neighbours": (Question("the city Rome lies in", "Italy"), Question("Lima is a city of", "Peru")),
        "portability": (Question("Oslo is in the land of Paris ,", "Norway"),),
    }
    return EditRequest(**fields | changes)  # type: ignore[arg-type]


@pytest.fixture
def requests() -> list[EditRequest]:
    return [
        request(),
        request(subject="Rome", prompt="the city Rome lies in", target="Peru", target_true="Italy"),
    ]
