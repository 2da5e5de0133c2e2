"""Text that the model writes itself: prefixes for keys, and a corpus where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kcircuits.editing.stream import Tokens, final_rows
from kcircuits.model.forward import read_out
from kcircuits.model.spec import ModelSpec

STARTS = ("The", "Therefore", "Because", "I", "You")
TOP_K = 50


@torch.no_grad()
def sampled(
    spec: ModelSpec,
    starts: Sequence[tuple[int, ...]],
    length: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Continue starts of equal length, each by `length` tokens of top-50 sampling; int64 [N, T].

    Every step runs whole sequences, so this is for short ones.
    """
    device = spec.unembedding.device
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(starts, device=device)
    for step in range(length):
        rows = final_rows(spec, Tokens(ids, torch.ones_like(ids, dtype=torch.bool)))[:, -1]
        best = read_out(spec, rows).float().topk(min(TOP_K, spec.vocab_size))
        drawn = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator).to(device)
        ids = torch.cat([ids, best.indices.gather(1, drawn)], dim=1)
        if progress is not None:
            progress(step + 1, length)
    return ids
