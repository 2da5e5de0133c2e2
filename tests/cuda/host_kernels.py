"""The CUDA kernels of csrc/cuda/ compiled for the host (tests/cuda/host/), called with tensors.

The functions take what the ops take and return what they return. More `multiprocessors` cut a sum or the
vocabulary into more shares.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kcircuits.ops import VocabReadout

ROOT = Path(__file__).resolve().parents[2]
HOST = ROOT / "tests" / "cuda" / "host"
COMPILER = os.environ.get("CXX", "g++")
FLAGS = [
    "-std=c++20", "-O1", "-g1", "-pthread", "-fno-strict-aliasing", "-ffp-contract=off",
    "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas",
    "-DKCIRCUITS_HOST_EMULATION", f"-I{ROOT / 'csrc'}", f"-I{HOST}",
]  # fmt: skip
DTYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
NORMS = {"none": 0, "layernorm": 1, "rmsnorm": 2}


def compile_host(name: str, sources: Sequence[str], *flags: str) -> Path:
    """Compile `sources` of tests/cuda/host/ and return the binary; build/ keeps it by the inputs' hash."""
    command = [COMPILER, *FLAGS, *flags, *(str(HOST / source) for source in sources)]
    digest = hashlib.sha256(" ".join(command).encode())
    for path in sorted([*(ROOT / "csrc" / "cuda").iterdir(), *HOST.iterdir(), ROOT / "csrc" / "norm_kind.h"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    folder = ROOT / "build" / "host-kernels"
    binary = folder / f"{name}-{digest.hexdigest()[:16]}"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{name}-*"):
            old.unlink()
        partial = binary.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", str(partial)], check=True)
        partial.replace(binary)
    return binary


def compiler_missing() -> bool:
    """Whether there is no C++ compiler to build the emulation with."""
    return shutil.which(COMPILER) is None


@functools.cache
def library() -> ctypes.CDLL:
    """The emulation, compiled where it is not yet."""
    sanitize = ("-fsanitize=undefined", "-fno-sanitize-recover=undefined")
    path = compile_host("kernels", ["kernels.cpp", "fibers.cpp"], "-fPIC", "-shared", *sanitize)
    return ctypes.CDLL(str(path))


def _call(
    function: str, dtype: torch.dtype, sizes: Sequence[int], data: Sequence[Tensor | None], *extra: float
):
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in data]
    getattr(library(), function)(
        ctypes.c_int(DTYPES[dtype]),
        (ctypes.c_int64 * len(sizes))(*sizes),
        (ctypes.c_void_p * len(pointers))(*pointers),
        *map(ctypes.c_double, extra),
    )


def _accumulate(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _unwritten(*shape: int, dtype: torch.dtype) -> Tensor:
    """Memory whose contents no test can mistake for a result."""
    return torch.full(shape, float("nan") if dtype.is_floating_point else -1, dtype=dtype)


def edge_mix(senders, mask, ablated=None, constant=None, *, norm="none", weight=None, bias=None, eps=1e-5,
             unit_offset=False):  # fmt: skip
    """The op `edge_mix`, as csrc/ops/edge_mix.cpp brings its arguments to one shape."""
    dtype, acc = senders.dtype, _accumulate(senders.dtype)
    shared = senders.dim() == 4
    masks = mask.unsqueeze(1) if mask.dim() == 2 else mask
    receivers, hypotheses, num_senders = masks.shape
    prompts, tokens, width = senders.shape[-3:]
    full = (num_senders, hypotheses, prompts, tokens, width)

    def rows(values: Tensor) -> Tensor:
        return (values.unsqueeze(1) if values.dim() == 4 else values).expand(full)

    def per_receiver(parameter: Tensor | None, offset: int = 0) -> Tensor | None:
        return None if parameter is None else (parameter.to(acc) + offset).expand(receivers, width)

    def operand(values: Tensor | None) -> list[int]:
        return [0] * 4 if values is None else list(values.stride()[:4])

    senders = rows(senders)
    ablated = None if ablated is None else rows(ablated)
    if constant is not None:
        one = constant.shape[1] == 1
        split = constant.unflatten(1, (1, 1) if one else (hypotheses, prompts))
        constant = split.expand(receivers, *full[1:])
    weight, bias = per_receiver(weight, int(unit_offset)), per_receiver(bias)
    boolean = masks.contiguous() if masks.dtype == torch.bool else None
    weights = None if boolean is not None else masks.to(acc).contiguous()
    out = _unwritten(receivers, hypotheses * prompts, tokens, width, dtype=dtype)
    sizes = [receivers, hypotheses, prompts, num_senders, tokens, width, NORMS[norm], int(shared)]
    sizes += operand(senders) + operand(ablated) + operand(constant)
    sizes += [0 if p is None else p.stride(0) for p in (weight, bias)]
    _call("emulate_edge_mix", dtype, sizes,
          [senders, ablated, constant, boolean, weights, weight, bias, out], eps)  # fmt: skip
    return out


def edge_scores(delta, grad, limits, *, positions=None, per_position=False, multiprocessors=1, into=None):
    """The op `edge_scores`, or `edge_scores_` where `into` takes the sums."""
    acc = _accumulate(delta.dtype)
    senders, prompts, tokens, width = delta.shape
    receivers = grad.shape[0]
    positions = None if positions is None else positions.to(acc).contiguous()
    shape = (senders, receivers, tokens) if per_position else (senders, receivers)
    scores = _unwritten(*shape, dtype=acc) if into is None else into
    sizes = [senders, receivers, prompts, tokens, width, *delta.stride()[:3], *grad.stride()[:3]]
    sizes += [int(per_position), int(into is not None), *scores.stride()[:2]]
    sizes += [scores.stride(2) if per_position else 0, multiprocessors]
    _call("emulate_edge_scores", delta.dtype, sizes, [delta, grad, limits, positions, scores])
    return scores


def vocab_readout(rows, unembedding, targets=None, bias=None, *, topk=0, soft_cap=0.0, norm="none",
                  weight=None, norm_bias=None, eps=1e-5, unit_offset=False, scale=None,
                  rank_range=False, multiprocessors=1):  # fmt: skip
    """The op `vocab_readout`."""
    acc = _accumulate(rows.dtype)

    def dense(values: Tensor | None, offset: int = 0) -> Tensor | None:
        return None if values is None else (values.to(acc) + offset).contiguous()

    shape = (rows.shape[0], 0) if targets is None else tuple(targets.shape)
    per_row = 1 if len(shape) == 1 else shape[1]
    logits, exps = _unwritten(*shape, dtype=acc), _unwritten(rows.shape[0], dtype=torch.float64)
    ranks = _unwritten(*shape, *([2] if rank_range else []), dtype=torch.int64)
    values, ids = (_unwritten(rows.shape[0], topk, dtype=dtype) for dtype in (acc, torch.int64))
    sizes = [rows.shape[0], *unembedding.shape, per_row, topk, int(rank_range), NORMS[norm]]
    sizes += [rows.stride(0), unembedding.stride(0), multiprocessors]
    parameters = [dense(bias), dense(weight, int(unit_offset)), dense(norm_bias), dense(scale)]
    targets = None if targets is None else targets.contiguous()
    results = [logits, ranks, exps, values, ids]
    _call("emulate_vocab_readout", rows.dtype, sizes,
          [rows, unembedding, targets, *parameters, *results], soft_cap, eps)  # fmt: skip
    return VocabReadout(logits, ranks, exps, values, ids)
