"""The reference forward against Hugging Face's own, and its runs against each other."""

from __future__ import annotations

import copy
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor

from kcircuits.model.families import spec_of
from kcircuits.model.forward import (
    SenderRun,
    embed,
    forward,
    forward_senders,
    masked_forward,
    position_ids,
    unembed,
)
from kcircuits.model.spec import ModelSpec
from tests.covers import every_value, pairwise
from tests.models import BUILDERS, random_prompts, tiny_model, tiny_spec

assert_close = partial(torch.testing.assert_close, atol=1e-4, rtol=0)

every_variant = pytest.mark.parametrize("name", BUILDERS)
one_of_each = pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "llama_biases"])


def prompts(padding: Literal["left", "right"] = "left") -> tuple[Tensor, Tensor]:
    return random_prompts([3, 6, 5], padding=padding)


def all_edges(spec: ModelSpec) -> Tensor:
    return torch.from_numpy(spec.graph.valid).clone()


def bias_stream(spec: ModelSpec, num_layers: int | None = None) -> Tensor:
    """Σ b_O of the first layers, the part of the stream that no node writes, [D]."""
    total = torch.zeros(spec.width)
    for layer in spec.layers[:num_layers]:
        if layer.attention.b_o is not None:
            total = total + layer.attention.b_o
    return total


@pairwise(name=list(BUILDERS), lengths=[[7], [1], [4, 9, 1, 6]], padding=["left", "right"])
def test_logits_are_transformers_logits(name, lengths, padding):
    tokens, mask = random_prompts(lengths, padding=padding)
    with torch.no_grad():
        expected = tiny_model(name)(
            tokens, attention_mask=mask.long(), position_ids=(mask.long().cumsum(-1) - 1).clamp(min=0)
        ).logits
    logits = forward(tiny_spec(name), tokens, mask)
    assert expected[mask].std() > 0.5  # not close because everything is small
    assert_close(logits[mask], expected[mask])


@every_value(name=list(BUILDERS), padding=["left", "right"])
def test_padding_changes_no_number(name, padding):
    spec = tiny_spec(name)
    tokens, mask = prompts(padding)
    logits = forward(spec, tokens, mask)
    assert logits.isfinite().all()
    for row in range(len(tokens)):
        alone = tokens[row][mask[row]][None]
        assert_close(
            logits[row][mask[row]], forward(spec, alone, torch.ones_like(alone, dtype=torch.bool))[0]
        )


@one_of_each
def test_a_masked_run_does_not_depend_on_padding(name):
    spec = tiny_spec(name)
    edges = all_edges(spec) & (torch.rand(spec.graph.valid.shape) < 0.7)
    tokens, mask = prompts("left")
    logits = masked_forward(spec, tokens, mask, edges)
    assert logits.isfinite().all()
    for row in range(len(tokens)):
        alone = tokens[row][mask[row]][None]
        assert_close(
            logits[row][mask[row]],
            masked_forward(spec, alone, torch.ones_like(alone, dtype=torch.bool), edges)[0],
        )


@every_variant
def test_bfloat16_errs_no_more_than_transformers_does(name):
    tokens, mask = prompts()
    model = copy.deepcopy(tiny_model(name)).bfloat16()
    spec = spec_of(model)
    exact = forward(tiny_spec(name), tokens, mask)

    def error(logits: Tensor) -> float:
        assert logits.dtype == torch.bfloat16
        return float((logits.float() - exact)[mask].square().mean().sqrt() / exact[mask].std())

    with torch.no_grad():
        transformers = model(tokens, attention_mask=mask.long(), position_ids=position_ids(mask)).logits
    assert error(forward(spec, tokens, mask)) < 2 * error(transformers) < 0.1
    assert error(masked_forward(spec, tokens, mask, all_edges(spec))) < 2 * error(transformers)


@every_variant
def test_every_receiver_reads_the_sum_of_the_senders_before_it(name):
    spec = tiny_spec(name)
    graph = spec.graph
    run = forward_senders(spec, *prompts())
    assert run.senders.shape == (len(graph.senders), 3, 6, spec.width)
    assert len(run.streams) == len(graph.receivers)
    for receiver, stream, num_senders in zip(graph.receivers, run.streams, graph.num_senders_of, strict=True):
        # an MLP also reads the output bias of its own layer's attention
        layers = (
            None
            if receiver == "logits"
            else int(receiver[1:].partition(".")[0]) + (receiver.startswith("m") and not spec.parallel)
        )
        biases = bias_stream(spec, layers)
        assert_close(stream, run.senders[:num_senders].sum(dim=0) + biases)
    assert_close(run.logits, unembed(spec, run.streams[-1]))


@every_value(name=list(BUILDERS), ablation=["zero", "corrupt"])
def test_a_masked_run_with_all_edges_is_the_plain_run(name, ablation):
    spec = tiny_spec(name)
    tokens, mask = prompts()
    ablated = None if ablation == "zero" else torch.randn(len(spec.graph.senders), 3, 6, spec.width)
    plain = forward(spec, tokens, mask)
    assert_close(masked_forward(spec, tokens, mask, all_edges(spec), ablated), plain)
    # what the mask says about pairs that are no edges does not matter
    everything = torch.ones_like(all_edges(spec))
    assert_close(masked_forward(spec, tokens, mask, everything, ablated), plain)


class TestMaskedRunsThatAreEasyByHand:
    @pytest.fixture(params=["gpt2", "llama_gqa", "llama_biases"])
    def spec(self, request: pytest.FixtureRequest) -> ModelSpec:
        return tiny_spec(request.param)

    @pytest.fixture
    def run(self, spec: ModelSpec) -> SenderRun:
        return forward_senders(spec, *prompts())

    def test_without_edges_only_the_output_biases_are_left(self, spec):
        logits = masked_forward(spec, *prompts(), torch.zeros_like(all_edges(spec)))
        assert_close(logits, unembed(spec, bias_stream(spec)).expand_as(logits))

    def test_without_edges_into_logits_only_the_output_biases_are_left(self, spec):
        edges = all_edges(spec)
        edges[:, spec.graph.receiver_index("logits")] = False
        logits = masked_forward(spec, *prompts(), edges)
        assert_close(logits, unembed(spec, bias_stream(spec)).expand_as(logits))

    def test_the_input_alone(self, spec):
        tokens, mask = prompts()
        edges = torch.zeros_like(all_edges(spec))
        edges[spec.graph.sender_index("input"), spec.graph.receiver_index("logits")] = True
        expected = unembed(spec, embed(spec, tokens, position_ids(mask)) + bias_stream(spec))
        assert_close(masked_forward(spec, tokens, mask, edges), expected)

    def test_edges_into_logits_choose_among_the_senders_of_the_plain_run(self, spec, run):
        edges = all_edges(spec)
        present = torch.rand(len(spec.graph.senders)) < 0.5
        edges[:, -1] &= present
        stream = run.senders[present].sum(dim=0) + bias_stream(spec)
        assert_close(masked_forward(spec, *prompts(), edges), unembed(spec, stream))

    def test_absent_edges_carry_what_the_corrupt_run_sends(self, spec, run):
        mask = prompts()[1]
        tokens = random_prompts([3, 6, 5], seed=1)[0]
        logits = masked_forward(spec, tokens, mask, torch.zeros_like(all_edges(spec)), run.senders)
        assert_close(logits, run.logits)

    def test_one_sender_replaced(self, spec, run):
        """`m2` writes last, so all that follows from replacing it stands in the final stream."""
        sender = spec.graph.sender_index("m2")
        replacement = torch.randn(len(spec.graph.senders), 1, 1, spec.width)  # broadcast
        edges = all_edges(spec)
        edges[sender, -1] = False
        stream = run.streams[-1] - run.senders[sender] + replacement[sender]
        assert_close(masked_forward(spec, *prompts(), edges, replacement), unembed(spec, stream))

    def test_fractional_edges_blend(self, spec, run):
        weights = torch.rand(spec.graph.valid.shape)
        blended = masked_forward(spec, *prompts(), weights, run.senders)  # of two things that are equal
        assert_close(blended, run.logits)
        edges = all_edges(spec).float()
        edges[:, -1] = 0.25
        stream = 0.25 * run.senders.sum(dim=0) + bias_stream(spec)
        assert_close(masked_forward(spec, *prompts(), edges), unembed(spec, stream))


@pytest.mark.parametrize("name", ["llama_gqa", "llama_mqa", "llama"])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_value_receiver_feeds_all_query_heads_of_its_group(name, layer):
    """RMSNorm of nothing is nothing, so without values (and value biases) the heads write nothing."""
    spec = tiny_spec(name)
    graph = spec.graph
    for kv_head in range(spec.num_kv_heads):
        receiver = f"a{layer}.h{kv_head}<v>"
        deaf, mute = all_edges(spec), all_edges(spec)
        deaf[:, graph.receiver_index(receiver)] = False
        heads = graph.nodes_of(receiver)
        assert len(heads) == spec.num_heads // spec.num_kv_heads
        mute[[graph.sender_index(head) for head in heads]] = False
        logits = masked_forward(spec, *prompts(), deaf)
        assert_close(logits, masked_forward(spec, *prompts(), mute))
        assert (logits - forward(spec, *prompts())).abs().max() > 0.01


@one_of_each
def test_gradients_of_edges_are_those_of_finite_differences(name):
    spec = spec_of(copy.deepcopy(tiny_model(name)).double())
    tokens, mask = prompts()
    corrupt = forward_senders(spec, random_prompts([3, 6, 5], seed=1)[0], mask).senders
    edges = torch.rand(spec.graph.valid.shape, dtype=torch.float64, requires_grad=True)

    def metric(weights: Tensor) -> Tensor:
        return masked_forward(spec, tokens, mask, weights, corrupt)[:, -1].logsumexp(dim=-1).mean()

    (gradient,) = torch.autograd.grad(metric(edges), edges)
    assert (gradient[~all_edges(spec)] == 0).all()
    assert (gradient[all_edges(spec)] != 0).all()
    direction = torch.randn_like(edges)
    step = 1e-5 * direction
    with torch.no_grad():
        difference = (metric(edges + step) - metric(edges - step)) / 2e-5
    assert_close((gradient * direction).sum(), difference, rtol=1e-5, atol=1e-8)
