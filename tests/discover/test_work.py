"""How much work the search does for the golden circuits: it must not grow unnoticed."""

from __future__ import annotations

from kcircuits.data.prompts import Prompt
from kcircuits.discovery import discover
from kcircuits.engine.profile import profile_call
from kcircuits.model.loading import load_model
from tests.experiments import experiment
from tests.golden import GOLDEN, acdc_golden

# Hypotheses evaluated for all cases of these models, in how many batches, and the operations of all products.
# Where a change lowers them, lower them here.
EVALUATIONS, CHUNKS, FLOP = 2832, 491, 257_887_744
TOLERANCE = 1.02
"""Drafts are rounded differently on other processors."""


def search_all() -> tuple[int, int]:
    """Evaluations and batches of the searches for all golden circuits."""
    stats = []
    for name in ["gpt2", "llama", "llama_gqa"]:
        golden, model = acdc_golden(name), load_model(GOLDEN / name)
        prompt = Prompt(tuple(golden["clean_ids"]), golden["answer_id"], tuple(golden["corrupt_ids"]))
        for case in golden["cases"]:
            options = {option: case[option] for option in ("threshold", "ablation", "fold_value_biases")}
            stats.append(discover(model, *experiment([prompt], "acdc", **options)).stats)
    return sum(int(one["evaluations"]) for one in stats), sum(int(one["chunks"]) for one in stats)


def test_the_search_does_no_more_than_it_did():
    (evaluations, chunks), profile = profile_call(search_all)
    flop = sum(work.flop for work in profile.work if work.products)
    assert evaluations <= EVALUATIONS * TOLERANCE
    assert chunks <= CHUNKS * TOLERANCE
    assert flop <= FLOP * TOLERANCE
