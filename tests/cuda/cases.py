"""Inputs for the CUDA kernels, on the host and on a device: one table of shapes for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from kcircuits.ops.edge_mix import NormName
from kcircuits.ops.vocab_readout import vocab_readout_reference

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
TOLERANCE = {
    torch.float32: 2e-5,
    torch.float64: 1e-11,
    torch.float16: 2e-3,
    torch.bfloat16: 2e-2,
}
NORM_NAMES: tuple[NormName, ...] = ("none", "layernorm", "rmsnorm")
# Below, at and above one vector, one warp's vectors, and the tiles of the products; odd ones are unaligned.
WIDTHS = (1, 3, 8, 33, 64, 136, 520)

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Generate = Callable[..., Tensor]


def random_tensors(seed: int, dtype: torch.dtype, device: str = "cpu") -> Generate:
    """A function from sizes to normal values of `dtype`; `offset` elements before them make them unaligned."""
    generator = torch.Generator().manual_seed(seed)

    def generate(*sizes: int, offset: int = 0) -> Tensor:
        count = torch.Size(sizes).numel()
        values = torch.randn(offset + count, generator=generator, dtype=torch.float64).to(dtype)
        return values.to(device)[offset:].view(sizes)

    return generate


def prefix_masks(receivers: int, hypotheses: int, num_senders: int, seed: int) -> Tensor:
    """Masks [R, M, S] of a speculative chunk: hypothesis m lacks the first m candidates of a random order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(receivers, num_senders, generator=generator).argsort(-1)  # [R, S]: place of each sender
    return order[:, None, :] >= torch.arange(hypotheses)[None, :, None]


@st.composite
def edge_mix_cases(draw: st.DrawFn) -> Arguments:
    """Positional and keyword arguments of `edge_mix`."""
    dtype = draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 999))
    randn = random_tensors(seed, dtype)
    receivers, hypotheses, prompts, tokens = (draw(st.integers(1, n)) for n in (4, 6, 2, 3))
    num_senders = draw(st.sampled_from((0, 1, 7, 40, 70)))
    width = draw(st.sampled_from(WIDTHS))
    shared = draw(st.booleans())
    offset = draw(st.sampled_from((0, 0, 1)))

    def operand(count: int, *middle: int) -> Tensor:
        """[count, *middle, P, T, D], some sizes 1."""
        sizes = [count, *middle, prompts, tokens]
        sizes = [1 if draw(st.integers(0, 5)) == 0 and size > 0 else size for size in sizes]
        return randn(*sizes, width, offset=offset)

    per_hypothesis = () if shared else (hypotheses,)
    senders = randn(num_senders, *per_hypothesis, prompts, tokens, width, offset=offset)
    kind = draw(st.sampled_from(("prefix", "random", "weights")))
    mask = prefix_masks(receivers, hypotheses, num_senders, seed)
    if kind != "prefix":
        mask = randn(receivers, hypotheses, num_senders) > 0
    if kind == "weights":
        mask = mask * randn(receivers, hypotheses, num_senders).abs().clamp(max=1)
    ablated = draw(st.none() | st.just(per_hypothesis))
    norm = draw(st.sampled_from(NORM_NAMES))
    parameter = st.none() if norm == "none" else st.none() | st.sampled_from(((width,), (receivers, width)))
    constant = None
    if draw(st.booleans()):
        constant = randn(*(draw(st.sampled_from((1, n))) for n in (receivers, hypotheses * prompts, tokens)), width)
    sizes = {name: draw(parameter) for name in ("weight", "bias")}
    keywords = {name: None if size is None else randn(*size) for name, size in sizes.items()}
    unit_offset = keywords["weight"] is not None and draw(st.booleans())
    return (
        (senders, mask, None if ablated is None else operand(num_senders, *ablated), constant),
        {"norm": norm, "unit_offset": unit_offset, **keywords},
    )


@st.composite
def edge_scores_cases(draw: st.DrawFn) -> Arguments:
    """Positional and keyword arguments of `edge_scores`."""
    dtype = draw(st.sampled_from(DTYPES))
    randn = random_tensors(draw(st.integers(0, 999)), dtype)
    senders = draw(st.sampled_from((1, 9, 130)))
    receivers = draw(st.sampled_from((1, 5, 17, 66)))
    prompts, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    width = draw(st.sampled_from(WIDTHS))
    offset = draw(st.sampled_from((0, 0, 1)))
    delta = randn(senders, prompts, tokens, width, offset=offset)
    grad = randn(receivers, prompts, tokens, width)
    if draw(st.booleans()):  # positions last but one in memory
        delta = delta.transpose(1, 2).contiguous().transpose(1, 2)
    limits = torch.tensor(draw(st.lists(st.integers(0, senders), min_size=receivers, max_size=receivers)))
    positions = draw(st.sampled_from((None, "mask", "weights")))
    if positions is not None:
        weights = randn(prompts, tokens)
        mask = weights > -0.5
        delta.masked_fill_(~mask[..., None], float("nan"))  # a position of weight 0 is never read
        positions = mask if positions == "mask" else weights * mask
    return (delta, grad, limits), {"positions": positions, "per_position": draw(st.booleans())}


@st.composite
def vocab_readout_cases(draw: st.DrawFn) -> Arguments:
    """Positional and keyword arguments of `vocab_readout`; the unembedding repeats rows, so there are ties."""
    dtype = draw(st.sampled_from(DTYPES))
    randn = random_tensors(draw(st.integers(0, 999)), dtype)
    count = draw(st.sampled_from((1, 3, 16, 20, 65)))
    vocabulary = draw(st.sampled_from((1, 40, 129, 300)))
    width = draw(st.sampled_from(WIDTHS))
    offset = draw(st.sampled_from((0, 0, 1)))
    rows = randn(count, width, offset=offset) * 3
    unembedding = randn(vocabulary, width) / width**0.5
    unembedding[vocabulary // 2 :] = unembedding[: vocabulary - vocabulary // 2].clone()
    index = torch.randint(0, vocabulary, (count, 35), generator=torch.Generator().manual_seed(count))
    targets = draw(st.sampled_from((None, index[:, 0], index[:, :2], index)))
    norm = draw(st.sampled_from(NORM_NAMES))
    some = st.booleans() if norm != "none" else st.just(False)
    weight = randn(width) if draw(some) else None
    return (
        (rows, unembedding, targets, randn(vocabulary) if draw(st.booleans()) else None),
        {
            "topk": draw(st.sampled_from([k for k in (0, 1, 5, 40) if k <= vocabulary])),
            "soft_cap": draw(st.sampled_from((0.0, 2.5))),
            "norm": norm,
            "weight": weight,
            "norm_bias": randn(width) if draw(some) else None,
            "unit_offset": weight is not None and draw(st.booleans()),
            "scale": randn(count).abs() if draw(some) else None,
        },
    )


def assert_same_readout(got: tuple[Tensor, ...], args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Compare a readout with the reference; where two logits differ by rounding alone, either order is right."""
    logits, ranks, exps, values, ids = got
    expected = vocab_readout_reference(*args, **keywords)
    # 16-bit rows multiply exactly and add in float32, so their logits are as good as float32's own.
    dtype = torch.float64 if args[0].dtype == torch.float64 else torch.float32
    slack = {"atol": 2e-4, "rtol": 2e-4} if dtype == torch.float32 else {"atol": 1e-11, "rtol": 1e-11}
    for mine, reference in ((logits, expected[0]), (exps, expected[2]), (values, expected[3])):
        torch.testing.assert_close(mine, reference, **slack)

    uncapped = {**keywords, "soft_cap": 0.0}
    everything = torch.arange(len(args[1]), device=args[0].device).expand(len(args[0]), -1)
    full = vocab_readout_reference(args[0], args[1], everything, args[3], **{**uncapped, "topk": 0})[0]  # [N, V]
    near = slack["atol"] * (1 + full.abs().amax())
    if args[2] is not None:
        wanted = full.gather(1, args[2].view(len(full), -1))
        fewest = 1 + (full[:, None] > wanted[..., None] + near).sum(-1)
        most = 1 + (full[:, None] > wanted[..., None] - near).sum(-1) - 1
        mine = ranks.view(len(full), -1)
        assert bool(((fewest <= mine) & (mine <= most)).all())
    chosen = full.gather(1, ids)
    order = expected[4]
    assert bool((chosen >= full.gather(1, order) - near).all()), "a better word was left out"
    assert all(len(set(row)) == len(row) for row in ids.tolist()), "a word twice"
