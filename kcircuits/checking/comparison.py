"""Compare a model's logits with those of another program or another source."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.data.prompts import Prompt
from kcircuits.engine import engine_of
from kcircuits.engine.needs import for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_text,
    list_of,
    or_none,
)
from kcircuits.model.forward import read_out
from kcircuits.model.huggingface import first_line, pause_garbage_collection, silence_transformers
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task

TOLERANCE = 1e-3
"""Largest difference of two log-probabilities that float32 rounding can explain."""

NextToken = Callable[[tuple[int, ...]], Tensor]
"""Function that returns the logits [V] of the next token after some ids."""


@dataclass(frozen=True)
class Difference:
    """The difference of two models' next-token predictions for one prompt.

    `largest`: the largest difference of two log-probabilities. `divergence`: KL(other ‖ model) in nats.
    `same_best`: whether the most probable token is the same. `text` is None for random ids.
    """

    text: str | None
    num_tokens: int
    largest: float
    divergence: float
    same_best: bool


@dataclass(frozen=True)
class Comparison:
    """Next-token logits of a model and of another one, prompt by prompt.

    `other` describes the other model. `same_weights`: whether the weights of both are the same numbers, so
    that logits must agree within `TOLERANCE`; otherwise one of them was rounded to fewer bits. `other_ids`:
    texts whose token ids differ, each with both lists.
    """

    other: str
    same_weights: bool
    differences: tuple[Difference, ...]
    other_ids: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    @classmethod
    def from_json(cls, what: str, document: object) -> Comparison:
        """Build a comparison from a JSON object with its fields; raises KCircuitsError if it is invalid."""
        given = check_keys(what, document, _COMPARISON)
        if not given["differences"]:
            raise KCircuitsError(f"{what}: 'differences' is empty, so nothing was compared")
        found = [
            check_keys(f"{what}, difference {n}", each, _DIFFERENCE)
            for n, each in enumerate(given["differences"])
        ]
        return cls(
            given["other"],
            given["same_weights"],
            tuple(Difference(**{key: each[key] for key in _DIFFERENCE}) for each in found),
            tuple((text, tuple(ours), tuple(theirs)) for text, ours, theirs in given["other_ids"]),
        )

    @property
    def largest(self) -> float:
        """The largest difference of two log-probabilities in any prompt; infinite if one is NaN."""
        return max(one.largest if math.isfinite(one.largest) else math.inf for one in self.differences)

    @property
    def agrees(self) -> bool:
        """Whether ids agree, logits are finite, and, if the weights are the same, logits agree."""
        limit = TOLERANCE if self.same_weights else math.inf
        return not self.other_ids and self.largest <= limit and math.isfinite(self.largest)


def _is_other_ids(value: object) -> bool:
    """True for a text with two lists of ids."""
    ids = list_of(is_count, 1_000_000)
    return isinstance(value, list) and len(value) == 3 and is_text(value[0]) and all(map(ids, value[1:]))


def _is_bool(value: object) -> bool:
    return type(value) is bool


_COMPARISON: Keys = {
    "other": (is_text, "a string"),
    "same_weights": (_is_bool, "true or false"),
    "differences": (list_of(anything, 10_000), "a list"),
    "other_ids": (list_of(_is_other_ids, 10_000), "a list of texts with two lists of ids"),
}
_DIFFERENCE: Keys = {
    "text": (or_none(is_text), "a string or null"),
    "num_tokens": (is_count, "a whole number from 0 on"),
    **dict.fromkeys(("largest", "divergence"), (is_number, "a number")),
    "same_best": (_is_bool, "true or false"),
}


def of_spec(spec: ModelSpec, memory: int | str | None) -> NextToken:
    """Logits of the compiled engine, one prompt at a time; raises if a prompt does not fit into memory."""

    def logits(ids: tuple[int, ...]) -> Tensor:
        task = Task((Prompt(ids, 0),), "zero")
        budget = budget_for(memory, [for_readings(spec, task.prompts)])
        return read_out(spec, engine_of(spec, task, budget).full_rows())[0]

    return logits


def of_transformers(folder: Path) -> tuple[NextToken, Any | None]:
    """Logits of Transformers for the model in a folder, in float32, and its tokenizer or None.

    Raises KCircuitsError if Transformers cannot load it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with pause_garbage_collection(), silence_transformers():
        try:
            hf_model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=True,
                **settings,
            )
        except Exception as error:  # Transformers raises errors of many types
            raise KCircuitsError(f"Transformers cannot load {folder}: {first_line(error)}") from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **settings)
        except Exception:  # the model may have no tokenizer
            tokenizer = None
    hf_model.eval()

    def logits(ids: tuple[int, ...]) -> Tensor:
        with torch.no_grad():
            row: Tensor = hf_model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        return row

    return logits, tokenizer


def compare_logits(
    ours: NextToken, theirs: NextToken, prompts: Sequence[tuple[str | None, tuple[int, ...]]]
) -> tuple[Difference, ...]:
    """Compare next-token logits over the tokens that both vocabularies have."""
    return tuple(_difference(text, ids, ours(ids), theirs(ids)) for text, ids in prompts)


def _difference(text: str | None, ids: tuple[int, ...], ours: Tensor, theirs: Tensor) -> Difference:
    shared = min(len(ours), len(theirs))
    a, b = (row[:shared].double().cpu().log_softmax(-1) for row in (ours, theirs))
    if not (a.isfinite().all() and b.isfinite().all()):
        return Difference(text, len(ids), math.inf, math.inf, same_best=False)
    return Difference(
        text=text,
        num_tokens=len(ids),
        largest=float((a - b).abs().max()),
        divergence=max(0.0, float((b.exp() * (b - a)).sum())),
        same_best=bool(a.argmax() == b.argmax()),
    )


def compare_ids(
    model: Model, tokenizer: Any | None, texts: Sequence[str]
) -> tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]:
    """Texts to which two tokenizers give different ids; empty if a model has no tokenizer."""
    if model.tokenizer is None or tokenizer is None:
        return ()
    found = []
    for text in texts:
        ours, theirs = (tuple(one(text)["input_ids"]) for one in (model.tokenizer, tokenizer))
        if ours != theirs:
            found.append((text, ours, theirs))
    return tuple(found)
