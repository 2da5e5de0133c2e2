"""The ops and the engine on a CUDA device. benchmarks/gpu_check.sh runs this file on a machine with a GPU."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kcircuits._native import C
from kcircuits.model.families import spec_of
from kcircuits.ops import add_edge_scores, edge_mix, edge_scores, vocab_readout
from tests.ops.cases import (
    DTYPES,
    MIX_CASES,
    READOUT_CASES,
    SCORE_CASES,
    MixCase,
    ReadoutCase,
    ScoreCase,
    mix_cases,
    mix_inputs,
    readout_cases,
    readout_inputs,
    score_cases,
    score_inputs,
)
from tests.ops.checks import check_mix, check_readout, check_scores

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
many_cases = settings(max_examples=200)
# Real models' sizes: several tiles of every kernel, and widths of one and two registers' worth.
LARGE_MIX = {
    "chunk": MixCase(300, 15, 64, 1, 6, 576, present=0.95, norm="rmsnorm", parameters="one"),
    "wide": MixCase(64, 20, 4, 2, 3, 4096, norm="layernorm", parameters="each", ablated="mean"),
    "wider": MixCase(40, 20, 4, 1, 3, 8200, norm="rmsnorm", constant="full"),
}
LARGE_SCORES = {
    "layer": ScoreCase(600, 49, 8, 12, 1024),
    "model": ScoreCase(700, 900, 2, 6, 768, positions="float"),
}
LARGE_READOUT = {
    "few": ReadoutCase(4, 50_257, 1024, targets=3, topk=10, norm="layernorm", parameters=True),
    "many": ReadoutCase(700, 49_152, 576, targets=0, topk=10, norm="rmsnorm", parameters=True),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", (MIX_CASES | LARGE_MIX).values(), ids=MIX_CASES | LARGE_MIX)
def test_edge_mix(case, dtype):
    check_mix(case, dtype, DEVICE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", (SCORE_CASES | LARGE_SCORES).values(), ids=SCORE_CASES | LARGE_SCORES)
def test_edge_scores(case, dtype):
    check_scores(case, dtype, DEVICE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", (READOUT_CASES | LARGE_READOUT).values(), ids=READOUT_CASES | LARGE_READOUT)
def test_vocab_readout(case, dtype):
    check_readout(case, dtype, DEVICE)


@many_cases
@given(st.one_of(mix_cases(), score_cases(), readout_cases()), st.sampled_from(DTYPES))
def test_any_case(case, dtype):
    for width in (case.width, 64):
        check = {MixCase: check_mix, ScoreCase: check_scores, ReadoutCase: check_readout}[type(case)]
        check(replace(case, width=width), dtype, DEVICE)


def small_calls():
    """One call of every op, and the tensor whose values may change between its replays."""
    mix = mix_inputs(MixCase(40, 9, 5, 2, 3, 64, norm="rmsnorm"), torch.float32, DEVICE)
    scores = score_inputs(ScoreCase(40, 9, 2, 3, 64, positions="float"), torch.float32, DEVICE)
    readout = readout_inputs(ReadoutCase(9, 500, 64, targets=2, topk=5), torch.float32, DEVICE)
    return {
        "edge_mix": (lambda: edge_mix(**mix), mix["senders"]),
        "edge_scores": (lambda: edge_scores(**scores), scores["delta"]),
        "vocab_readout": (lambda: vocab_readout(**readout).log_sum_exp, readout["rows"]),
    }


@pytest.mark.parametrize("name", ["edge_mix", "edge_scores", "vocab_readout"])
def test_captured_in_a_graph(name):
    """A capture fails where an op waits for the device or leaves the current stream."""
    call, changing = small_calls()[name]
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call()
    changing.mul_(2)
    graph.replay()
    assert torch.equal(captured, call())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device")
def test_runs_where_the_tensors_live():
    inputs = mix_inputs(MixCase(40, 9, 5, 2, 3, 64), torch.float32, "cuda:1")
    assert edge_mix(**inputs).device == torch.device("cuda:1")


def test_bad_target_is_reported():
    """As torch's own indexing does: the device stops, so another process takes the blow."""
    program = (
        "import torch; from kcircuits.ops import vocab_readout; w = torch.ones(50, 8, device='cuda');"
        "vocab_readout(w[:1], w, torch.tensor([50], device='cuda')); torch.cuda.synchronize()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode != 0
    assert "targets must be ids in [0, 50), got 50 for row 0" in result.stdout + result.stderr


def needs_memory(gibibytes):
    if torch.cuda.mem_get_info()[0] < gibibytes << 30:
        pytest.skip(f"needs {gibibytes} GiB of device memory")


def test_more_than_two_to_the_31_elements_of_senders():
    needs_memory(20)
    tokens, width = 720_000, 1024
    senders = torch.randn(3, 1, tokens, width, device=DEVICE, dtype=torch.bfloat16)
    assert senders.numel() > 2**31
    mask = torch.tensor([[True, False, True]], device=DEVICE)
    last = slice(tokens - 7, tokens)
    mixed = edge_mix(senders, mask)[:, :, last]
    expected = edge_mix(senders[:, :, last].contiguous(), mask)
    assert torch.equal(mixed, expected)
    limits = torch.tensor([3], device=DEVICE)
    scores = edge_scores(senders, senders[2:], limits, per_position=True)[..., last]
    few = senders[:, :, last].contiguous()
    torch.testing.assert_close(scores, edge_scores(few, few[2:], limits, per_position=True))
    whole = torch.zeros(3, 1, device=DEVICE)
    add_edge_scores(whole, senders, senders[2:], limits)
    exact = senders[2].float().square().sum()
    torch.testing.assert_close(whole[2, 0], exact, rtol=1e-4, atol=0.0)


def test_more_than_two_to_the_31_elements_of_unembedding():
    needs_memory(20)
    words, width = 2_200_000, 1024
    unembedding = torch.randn(words, width, device=DEVICE, dtype=torch.bfloat16)
    assert unembedding.numel() > 2**31
    rows = unembedding[-3:].clone()
    targets = torch.arange(words - 3, words, device=DEVICE)
    out = vocab_readout(rows, unembedding, targets, topk=2)
    assert (out.ranks == 1).all()
    assert torch.equal(out.topk_ids[:, 0], targets)
    torch.testing.assert_close(out.target_logits, rows.float().square().sum(-1))


@pytest.mark.parametrize("metric", ["nll", "kl", "logit-diff"])
@pytest.mark.parametrize("corrupted", [False, True])
def test_engine_agrees_with_the_cpu(metric, corrupted):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    clean, corrupt = torch.randint(61, (2, 3, 6))
    answers, wrong = torch.randint(61, (2, 3))

    def search(device):
        session = C.Session(
            spec=spec_of(model.to(device)),
            clean=clean,
            lengths=torch.full((3,), 6),
            answers=answers,
            wrong=wrong if metric == "logit-diff" else None,
            corrupt=corrupt if corrupted else None,
            mean=None,
            metric=metric,
        )
        result = session.acdc(threshold=0.02, absolute=False, memory=1 << 28, chunk_limit=64, progress=None)
        return result, [(edge.sender, edge.receiver) for edge in result.edges]

    with torch.no_grad():
        (cpu, cpu_edges), (cuda, cuda_edges) = search("cpu"), search(DEVICE)
    assert cuda_edges == cpu_edges
    assert cuda.full_metric == pytest.approx(cpu.full_metric, abs=1e-4)
    assert cuda.circuit_metric == pytest.approx(cpu.circuit_metric, abs=1e-3)
