"""Gradient scores, exact scores and flow shares against slow computations from the reference forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kcircuits.engine import Engine
from kcircuits.model.forward import (
    activate,
    attention_outputs,
    forward_senders,
    normalise,
    position_ids,
    rotate,
    run_mlp,
    split_heads,
)
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task
from tests.covers import pairwise
from tests.models import BUILDERS, as_dtype, tiny_spec
from tests.tasks import (
    ablated_values,
    padded_prompts,
    random_prompts_of,
    reference_metric,
    reference_runs,
)

LARGE, TINY = 2**30, 1
FAMILIES = ["gpt2", "llama", "llama_gqa", "llama_biases", "gpt2_untied"]
# One of every kind of block, for what is computed by parts.
BLOCKS = [*FAMILIES, "gpt_neox", "falcon_new", "qwen3", "gemma2", "gemma3", "olmo2", "mixtral", "gpt_oss"]


def path(engine: Engine, points: Sequence[float] = (1.0,), **changes: Any) -> Tensor:
    options = {"rule": "gradient", "qk_fix": False, "memory": LARGE, "progress": None} | changes
    return engine.path_scores(points, **options)


def weights_gradient(spec: ModelSpec, task: Task) -> Tensor:
    """Σ over prompts of −∂metric/∂(weight of each edge) where all weights are 1: EAP by autograd alone."""
    weights = torch.from_numpy(spec.graph.valid).to(spec.embedding.dtype).requires_grad_()
    logits = reference_runs(spec, task)(weights)
    (gradient,) = torch.autograd.grad(reference_metric(spec, task)(logits).sum(), [weights])
    return -gradient * torch.from_numpy(spec.graph.valid)


def assert_same_scores(ours: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    largest = expected.abs().max().item()
    assert largest > 1e-3
    torch.testing.assert_close(ours.double(), expected.double(), atol=tolerance * largest, rtol=0)


@pairwise(
    name=list(BUILDERS), metric=["nll", "logit-diff"], ablation=["zero", "corrupt", "mean", "mean-positional"]
)
def test_eap_is_the_gradient_of_the_edge_weights(name, metric, ablation):
    spec = tiny_spec(name)
    task = Task(random_prompts_of([4, 6, 1], seed=3), ablation, metric)
    assert_same_scores(path(Engine(spec, task)), weights_gradient(spec, task))


def test_kl_at_the_full_model_has_no_slope():
    spec = tiny_spec("llama")
    scores = path(Engine(spec, Task(random_prompts_of([4, 3]), "corrupt", "kl")))
    assert scores.abs().max() < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_do_not_depend_on_memory_or_batch(name):
    spec = tiny_spec(name)
    prompts = random_prompts_of([5, 2, 6])
    points = [0.0, 0.25, 0.5, 1.0]
    together = path(Engine(spec, Task(prompts, "corrupt")), points, qk_fix=True)
    chunked = path(Engine(spec, Task(prompts, "corrupt")), points, qk_fix=True, memory=TINY)
    alone = [path(Engine(spec, Task((prompt,), "corrupt")), points, qk_fix=True) for prompt in prompts]
    assert_same_scores(chunked, together, 1e-5)
    assert_same_scores(sum(alone), together, 1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_points_are_averaged(name):
    engine = Engine(tiny_spec(name), Task(random_prompts_of([5, 3]), "corrupt"))
    single = [path(engine, [point]) for point in (0.0, 0.3, 1.0)]
    assert_same_scores(path(engine, [0.0, 0.3, 1.0]), sum(single) / 3, 1e-5)


def test_the_point_0_is_the_run_on_the_ablated_input():
    """Swapping clean and corrupt swaps the points, and turns the differences around."""
    spec = tiny_spec("llama_gqa")
    prompts = random_prompts_of([5, 3])
    swapped = tuple(
        type(p)(p.corrupt_ids, p.answer_id, p.clean_ids, p.wrong_id)  # type: ignore[arg-type]
        for p in prompts
    )
    ours = path(Engine(spec, Task(prompts, "corrupt")), [0.0])
    assert_same_scores(ours, -path(Engine(spec, Task(swapped, "corrupt")), [1.0]), 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_give_wide_scores(dtype):
    narrow = as_dtype(tiny_spec("llama_biases"), dtype)
    task = Task(random_prompts_of([5, 3]), "corrupt")
    scores = path(Engine(narrow, task), [0.0, 1.0], qk_fix=True)
    assert scores.dtype == torch.float32
    assert_same_scores(
        scores, path(Engine(as_dtype(narrow, torch.float32), task), [0.0, 1.0], qk_fix=True), 1e-5
    )


def test_double_precision():
    spec = as_dtype(tiny_spec("gpt2"), torch.float64)
    task = Task(random_prompts_of([5, 3]), "corrupt")
    scores = path(Engine(spec, task))
    assert scores.dtype == torch.float64
    assert_same_scores(scores, weights_gradient(spec, task), 1e-10)


@pytest.mark.parametrize("ablation", ["zero", "corrupt", "mean"])
@pytest.mark.parametrize("name", BLOCKS)
def test_exact_is_one_masked_run_per_edge(name, ablation):
    spec = tiny_spec(name)
    task = Task(random_prompts_of([4, 3], seed=5), ablation)
    rng = np.random.default_rng(0)
    wanted = spec.graph.valid & (rng.random(spec.graph.valid.shape) < 0.2)
    engine = Engine(spec, task)
    scores = engine.exact_scores(wanted, memory=LARGE, progress=None).numpy()
    masks = np.stack([without(spec.graph.valid, edge) for edge in np.argwhere(wanted)])
    values = np.array(engine.measure(np.concatenate([spec.graph.valid[None], masks]), LARGE))
    assert scores[wanted] == pytest.approx(values[1:] - values[0], abs=2e-5)
    assert not scores[~wanted].any()


def without(mask: np.ndarray, edge: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    changed[tuple(edge)] = False
    return changed


@pytest.mark.parametrize("chunk_limit", [1, 3])
def test_exact_does_not_depend_on_chunks(chunk_limit):
    spec = tiny_spec("llama_gqa")
    engine = Engine(spec, Task(random_prompts_of([4, 3]), "zero"))
    wanted = spec.graph.valid
    together = engine.exact_scores(wanted, memory=LARGE, progress=None)
    told: list[tuple[int, int]] = []
    chunked = engine.exact_scores(
        wanted, memory=LARGE, chunk_limit=chunk_limit, progress=lambda *counts: told.append(counts)
    )
    torch.testing.assert_close(chunked, together, atol=1e-5, rtol=0)
    assert told[-1] == (wanted.sum(), wanted.sum())
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_an_exception_of_the_progress_function_ends_the_work():
    engine = Engine(tiny_spec("llama"), Task(random_prompts_of([4]), "zero"))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        path(engine, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        engine.exact_scores(engine.graph.valid, memory=LARGE, progress=stop)


@pytest.mark.parametrize("name", FAMILIES)
def test_eap_is_exact_to_first_order(name):
    """Where ã is close to a, what EAP leaves out of the effect shrinks with the square of the distance."""
    spec = as_dtype(tiny_spec(name), torch.float64)
    prompts = random_prompts_of([4, 3], seed=2)
    near = [nearby(spec, distance) for distance in (1e-3, 1e-4)]
    errors = []
    for changed in near:
        engine = Engine(changed, Task(prompts, "corrupt"))
        exact = engine.exact_scores(changed.graph.valid, memory=LARGE, progress=None)
        eap = path(engine) / len(prompts)
        errors.append(((exact - eap).abs().max() / exact.abs().max()).item())
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] < 1e-2


def nearby(spec: ModelSpec, distance: float) -> ModelSpec:
    """The same model with token embeddings drawn together, so that any two prompts are close."""
    centre = spec.embedding.mean(dim=0, keepdim=True)
    return replace(spec, embedding=centre + distance * (spec.embedding - centre))


@pytest.mark.parametrize("name", FAMILIES)
def test_flow_shares(name):
    spec = tiny_spec(name)
    graph = spec.graph
    prompts = random_prompts_of([4, 2])
    shares = Engine(spec, Task(prompts, "zero")).flow_scores()
    expected = torch.zeros(len(graph.senders), len(graph.receivers))
    for prompt in prompts:
        ids = torch.tensor([prompt.clean_ids])
        run = forward_senders(spec, ids, torch.ones_like(ids, dtype=torch.bool))
        for r, stream in enumerate(run.streams):
            count = graph.num_senders_of[r]
            gaps = (stream - run.senders[:count]).abs().sum(-1)  # [S, 1, T]
            proximity = (stream.abs().sum(-1) - gaps).clamp(min=0)
            heads = len(graph.nodes_of(graph.receivers[r]))
            expected[:count, r] += heads * (proximity / proximity.sum(0)).mean(-1)[:, 0]
    torch.testing.assert_close(shares, expected, atol=1e-5, rtol=1e-5)


# RelP and the query/key correction: one layer at a time, by hand.


@pytest.mark.parametrize("name", ["llama_gqa", "llama_mqa", "qwen3", "gemma", "gemma3", "mixtral"])
def test_relp_conserves_the_metric(name):
    """Without biases nothing is created or lost: what reaches the logits, the senders' shares and the
    relevance of the input alone are all the logit difference."""
    spec = tiny_spec(name)
    task = Task(random_prompts_of([4, 3]), "zero", "logit-diff")
    engine = Engine(spec, task)
    scores = path(engine, rule="relevance").double()
    total = -engine.metric(engine.full_rows()[None]).sum()
    torch.testing.assert_close(scores[:, -1].sum(), total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[0].sum(), total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_relp_by_hand(name):
    spec = tiny_spec(name)
    task = Task(random_prompts_of([4, 3], seed=7), "corrupt", "logit-diff")
    assert_same_scores(path(Engine(spec, task), rule="relevance"), relevance_scores(spec, task))


def relevance_scores(spec: ModelSpec, task: Task) -> Tensor:
    """RelP with autograd on a forward whose rules are written out as detached factors."""
    padded, mask = padded_prompts(task)
    positions = position_ids(mask)
    run = forward_senders(spec, padded.clean, mask)
    streams = list(run.streams)

    def norm(n: Any, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True) if n.kind == "layernorm" else x
        scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + n.eps).detach()
        y = centred * scale * n.weight
        return y if n.bias is None else y + n.bias

    def secant(activation: str, x: Tensor) -> Tensor:
        return x * (activate(activation, x) / x).detach()

    leaves = [torch.zeros_like(stream, requires_grad=True) for stream in streams]
    graph = spec.graph
    x = run.senders[0]
    for index, layer in enumerate(spec.layers):
        a = layer.attention
        with torch.no_grad():
            pattern_x = normalise(layer.attention_norm, x)
            q = split_heads(torch.nn.functional.linear(pattern_x, a.w_q, a.b_q), spec.head_dim)
            k = split_heads(torch.nn.functional.linear(pattern_x, a.w_k, a.b_k), spec.head_dim)
        values = []
        for j in range(spec.num_kv_heads):
            leaf = leaves[graph.receiver_index(f"a{index}.h{j}<v>")]
            w = a.w_v.unflatten(0, (-1, spec.head_dim))[j]
            b = 0 if a.b_v is None else a.b_v.unflatten(0, (-1, spec.head_dim))[j]
            values.append(norm(layer.attention_norm, x + leaf) @ w.t() + b)
        heads = attention_outputs(layer, q, k, torch.stack(values, dim=1), positions, mask)
        x = x + heads.sum(0) + (0 if a.b_o is None else a.b_o)
        y = norm(layer.mlp_norm, x + leaves[graph.receiver_index(f"m{index}")])
        up = torch.nn.functional.linear(y, layer.mlp.w_up, layer.mlp.b_up)
        if layer.mlp.w_gate is None:
            hidden = secant(layer.mlp.activation, up)
        else:
            gate = secant(
                layer.mlp.activation, torch.nn.functional.linear(y, layer.mlp.w_gate, layer.mlp.b_gate)
            )
            hidden = (gate * up.detach() + gate.detach() * up) / 2
        x = x + torch.nn.functional.linear(hidden, layer.mlp.w_down, layer.mlp.b_down)
    final = norm(spec.final_norm, x + leaves[-1])[:, -1]
    logits = torch.nn.functional.linear(final, spec.unembedding, spec.unembedding_bias)
    metric = reference_metric(spec, task)(logits).sum()
    gradients = torch.autograd.grad(metric, leaves, allow_unused=True)
    change = (ablated_values(spec, task) - run.senders) * mask[None, :, :, None]
    scores = torch.zeros(len(graph.senders), len(graph.receivers))
    for r, gradient in enumerate(gradients):
        if gradient is not None:
            count = graph.num_senders_of[r]
            scores[:count, r] = torch.einsum("sntd,ntd->s", change[:count], gradient)
    return scores


@pytest.mark.parametrize("name", FAMILIES)
def test_qk_fix_by_hand(name):
    """One prompt, every edge into a query or key: the pattern computed anew, times the gradient there."""
    spec = tiny_spec(name)
    graph = spec.graph
    task = Task(random_prompts_of([5], seed=9), "corrupt")
    padded, mask = padded_prompts(task)
    positions = position_ids(mask)
    run = forward_senders(spec, padded.clean, mask)
    change = ablated_values(spec, task) - run.senders
    plain, fixed = path(Engine(spec, task)), path(Engine(spec, task), qk_fix=True)
    expected = plain.clone()
    for index, layer in enumerate(spec.layers):
        a = layer.attention

        def pattern(q_stream: Tensor, k_stream: Tensor, layer=layer, a=a) -> Tensor:
            def heads(at: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
                x = torch.nn.functional.linear(normalise(layer.attention_norm, at), w, b)
                x = split_heads(x, spec.head_dim)
                return x if a.rotary is None else rotate(a.rotary, x, positions)

            q, k = heads(q_stream, a.w_q, a.b_q), heads(k_stream, a.w_k, a.b_k)
            k = k.repeat_interleave(spec.num_heads // spec.num_kv_heads, dim=1)
            logits = (q @ k.transpose(-1, -2)) * a.scale
            visible = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
            return logits.masked_fill(~visible, float("-inf")).softmax(-1)[0]  # [H, T, T]

        first = graph.receiver_index(f"a{index}.h0<q>")
        stream = run.streams[first]
        clean = pattern(stream, stream)
        slope = pattern_slope(spec, task, run.senders, index, clean)
        for s in range(graph.num_senders_of[first]):
            patched = stream + change[s]
            by_query = ((pattern(patched, stream) - clean) * slope).sum((1, 2))
            by_key = ((pattern(stream, patched) - clean) * slope).sum((1, 2))
            expected[s, first : first + spec.num_heads] = by_query
            key = first + spec.num_heads
            expected[s, key : key + spec.num_kv_heads] = by_key.unflatten(0, (spec.num_kv_heads, -1)).sum(1)
    assert_same_scores(fixed, expected)
    assert (fixed - plain).abs().max() > 1e-2 * plain.abs().max()


def pattern_slope(spec: ModelSpec, task: Task, senders: Tensor, index: int, pattern: Tensor) -> Tensor:
    """∂metric/∂(attention pattern of a layer), [H, T, T], of the only prompt."""
    _, mask = padded_prompts(task)
    pattern = pattern.clone().requires_grad_()
    group = spec.num_heads // spec.num_kv_heads
    before = int(spec.graph.num_senders_of[spec.graph.receiver_index(f"a{index}.h0<q>")])
    x = senders[:before].sum(0) + sum(
        (layer.attention.b_o for layer in spec.layers[:index] if layer.attention.b_o is not None),
        start=torch.zeros(spec.width),
    )
    for number, layer in enumerate(spec.layers[index:], start=index):
        a = layer.attention
        normed = normalise(layer.attention_norm, x)
        q, k, v = (
            split_heads(torch.nn.functional.linear(normed, w, b), spec.head_dim)
            for w, b in ((a.w_q, a.b_q), (a.w_k, a.b_k), (a.w_v, a.b_v))
        )
        if number == index:
            w_o = a.w_o.unflatten(-1, (spec.num_heads, -1))
            heads = torch.einsum("htd,Dhd->htD", pattern @ v[0].repeat_interleave(group, dim=0), w_o)[:, None]
        else:
            heads = attention_outputs(layer, q, k, v, position_ids(mask), mask)
        x = x + heads.sum(0) + (0 if a.b_o is None else a.b_o)
        x = x + run_mlp(layer.mlp, normalise(layer.mlp_norm, x))
    final = normalise(spec.final_norm, x)[:, -1]
    logits = torch.nn.functional.linear(final, spec.unembedding, spec.unembedding_bias)
    (slope,) = torch.autograd.grad(reference_metric(spec, task)(logits).sum(), [pattern])
    return slope


def test_activation_scores_hold_one_node_at_a_time():
    """With one step every run holds a node at its clean output: the plain run, with a cut path."""
    spec = tiny_spec("gpt2")
    task = Task(random_prompts_of([4, 3]), "corrupt")
    engine = Engine(spec, task)
    once = engine.activation_scores(1, qk_fix=False, memory=LARGE, progress=None)
    runs = 2 * len(spec.layers) + 1
    # What flows into the logits does so in each of the runs alike.
    assert_same_scores(once[:, -1], path(engine)[:, -1], 1e-5)
    last = spec.graph.receiver_index(f"m{len(spec.layers) - 1}")
    assert_same_scores(once[:, last], path(engine)[:, last] * (runs - 1) / runs, 1e-5)
    chunked = engine.activation_scores(1, qk_fix=False, memory=TINY, progress=None)
    assert_same_scores(chunked, once, 1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gpt_neox", "olmo2", "gemma2", "mixtral", "gpt_oss"])
def test_layers_that_are_run_again_give_the_same_bits(name):
    """With little memory only the streams before the layers are kept, of ragged prompts, too."""
    engine = Engine(tiny_spec(name), Task(random_prompts_of([5, 3, 6]), "corrupt"))
    kept, again = (
        engine.path_scores([0.5], rule="gradient", qk_fix=False, memory=memory, progress=None)
        for memory in (LARGE, TINY)
    )
    assert kept.abs().max() > 0
    assert torch.equal(kept, again)
    kept, again = (
        engine.activation_scores(1, qk_fix=False, memory=memory, progress=None) for memory in (LARGE, TINY)
    )
    assert torch.equal(kept, again)
