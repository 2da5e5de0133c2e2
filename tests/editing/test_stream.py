"""The stream that editors run, against the reference forward."""

from __future__ import annotations

import pytest
import torch

from kcircuits.editing.sampling import sample_tokens
from kcircuits.editing.stream import (
    Tokens,
    cache_positions,
    final_rows,
    finish_layer,
    pad_left,
    pad_right,
    run_tail_to_end,
    run_to_end,
    run_to_layer,
    run_to_mlp,
)
from kcircuits.model.forward import forward, read_out
from kcircuits.model.spec import Experts
from tests.covers import every_value
from tests.models import BUILDERS, random_prompts, tiny_spec

every_variant = pytest.mark.parametrize("name", BUILDERS)


@every_value(name=list(BUILDERS), padding=["left", "right"])
def test_whole_runs_are_the_reference_forward(name, padding):
    spec = tiny_spec(name)
    tokens = Tokens(*random_prompts([3, 6, 5], padding=padding))
    logits = read_out(spec, final_rows(spec, tokens))
    expected = forward(spec, tokens.ids, tokens.mask)
    torch.testing.assert_close(logits[tokens.mask], expected[tokens.mask], atol=1e-4, rtol=0)


@every_variant
def test_a_run_can_stop_at_any_mlp_and_go_on(name):
    spec = tiny_spec(name)
    tokens = Tokens(*random_prompts([4, 6]))
    expected = final_rows(spec, tokens)
    for layer, each in enumerate(spec.layers):
        if isinstance(each.mlp, Experts):
            pytest.skip("a mixture of experts has no one w_down to stop at")
        before = run_to_mlp(spec, tokens, layer)
        rows = run_to_end(spec, finish_layer(spec, before, layer), tokens, layer + 1)
        torch.testing.assert_close(rows[tokens.mask], expected[tokens.mask], atol=1e-5, rtol=0)


@every_value(name=list(BUILDERS), count=[0, 2, 5])
def test_the_last_positions_can_be_run_by_themselves(name, count):
    spec = tiny_spec(name)
    tokens = pad_left(Tokens(*random_prompts([3, 6, 5], padding="right")))
    x = run_to_layer(spec, tokens, 1)
    rows, together = run_tail_to_end(spec, x[:, count:], tokens, cache_positions(spec, x, tokens, 1, count))
    expected, mask = final_rows(spec, tokens)[:, count:], tokens.mask[:, count:]
    torch.testing.assert_close(rows[mask], expected[mask], atol=1e-5, rtol=0)
    for found, wanted in zip(
        together.of_layers, cache_positions(spec, x, tokens, 1, 6).of_layers, strict=True
    ):
        torch.testing.assert_close(
            found[1].transpose(1, 2)[tokens.mask], wanted[1].transpose(1, 2)[tokens.mask]
        )


@every_variant
def test_a_text_is_written_as_by_whole_runs(name):
    spec = tiny_spec(name)
    starts, generator = [(3, 4), (5, 6)], torch.Generator().manual_seed(1)
    ids = torch.tensor(starts)
    for _ in range(4):
        logits = forward(spec, ids, torch.ones_like(ids, dtype=torch.bool))[:, -1].detach()
        best = logits.topk(min(50, spec.vocab_size))
        drawn = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
        ids = torch.cat([ids, best.indices.gather(1, drawn)], dim=1)
    assert torch.equal(sample_tokens(spec, starts, 4, seed=1), ids)


def test_flushed_prompts_end_together():
    tokens = pad_left(pad_right([(5, 6, 7), (8,), (9, 10)]))
    assert tokens.ids[:, -1].tolist() == [7, 8, 10]
    assert tokens.mask.tolist() == [[True] * 3, [False, False, True], [False, True, True]]
    assert tokens.ids[tokens.mask].tolist() == [5, 6, 7, 8, 9, 10]
