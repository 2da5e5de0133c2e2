"""Text sampled from the model: prefixes for keys, and a corpus if none is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kcircuits.editing.stream import Tokens, empty_cache, run_tail_to_end
from kcircuits.model.forward import embed, read_out
from kcircuits.model.spec import ModelSpec

STARTS = ("The", "Therefore", "Because", "I", "You")
TOP_K = 50


@torch.no_grad()
def sample_tokens(
    spec: ModelSpec,
    starts: Sequence[tuple[int, ...]],
    length: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Continue starts of equal length, each by `length` tokens of top-50 sampling; int64 [N, T]."""
    device = spec.unembedding.device
    generator = torch.Generator().manual_seed(seed)
    ids = new = torch.tensor(starts, device=device)
    before = empty_cache(spec, len(ids))
    for step in range(length):
        tokens = Tokens(ids, torch.ones_like(ids, dtype=torch.bool))
        stream = embed(spec, new, tokens.positions[:, -new.shape[1] :])
        rows, before = run_tail_to_end(spec, stream, tokens, before)
        best = read_out(spec, rows[:, -1]).float().topk(min(TOP_K, spec.vocab_size))
        drawn = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator).to(device)
        new = best.indices.gather(1, drawn)
        ids = torch.cat([ids, new], dim=1)
        if progress is not None:
            progress(step + 1, length)
    return ids
