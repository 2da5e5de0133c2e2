"""How much work the search does for the golden circuits: it must not grow unnoticed."""

from __future__ import annotations

from kcircuits.data.prompts import Prompt
from kcircuits.discover import discover
from kcircuits.model.loading import load_model
from tests.golden import GOLDEN, acdc_golden

# Hypotheses evaluated for all cases of these models, and in how many batches. Where a change of the drafts
# lowers them, lower them here.
EVALUATIONS, CHUNKS = 2832, 491
TOLERANCE = 1.02
"""Drafts are rounded differently on other processors."""


def test_the_search_evaluates_no_more_than_it_did():
    evaluations = chunks = 0
    for name in ["gpt2", "llama", "llama_gqa"]:
        golden, model = acdc_golden(name), load_model(GOLDEN / name)
        prompt = Prompt(tuple(golden["clean_ids"]), golden["answer_id"], tuple(golden["corrupt_ids"]))
        for case in golden["cases"]:
            circuit = discover(
                model,
                [prompt],
                threshold=case["threshold"],
                ablation=case["ablation"],
                fold_value_biases=case["fold_value_biases"],
            )
            evaluations += int(circuit.stats["evaluations"])
            chunks += int(circuit.stats["chunks"])
    assert evaluations <= EVALUATIONS * TOLERANCE
    assert chunks <= CHUNKS * TOLERANCE
