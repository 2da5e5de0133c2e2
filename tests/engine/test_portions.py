"""Prompts in portions whose engines fit into half of the memory."""

from __future__ import annotations

import pytest

from kcircuits.engine import Engine
from kcircuits.engine.portions import engine_bytes_per_token, portions
from kcircuits.model.transforms import with_kept_positions
from kcircuits.task import Task
from tests.covers import every_value
from tests.models import BUILDERS, tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 3, 5, 2])


@pytest.mark.parametrize("kept", [False, True])
def test_portions_fit_and_keep_the_order(kept):
    spec = tiny_spec("llama_gqa")
    memory = 2 * 8 * engine_bytes_per_token(spec, kept)
    sizes = [[len(p.clean_ids) for p in portion] for portion in portions(spec, PROMPTS, memory, kept=kept)]
    assert sizes == [[5, 3], [5, 2]]
    assert [p for portion in portions(spec, PROMPTS, 0) for p in portion] == list(PROMPTS)


@every_value(
    name=sorted(BUILDERS.keys() - {"gemma2"}),  # its soft cap: numbers by prompt
    ablation=["zero", "corrupt", "mean"],
)
def test_an_engine_takes_what_is_said(name, ablation):
    for spec in (tiny_spec(name), with_kept_positions(tiny_spec(name))):
        said = 15 * engine_bytes_per_token(spec, ablation != "zero")
        # Without sums and position rows before the first biases, a little less.
        assert 0.9 * said <= Engine(spec, Task(PROMPTS, ablation)).bytes <= 1.05 * said
