"""What every command does first: threads, model and prompts, checked."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

from kcircuits.cli.prompts import Chosen, Source, choose
from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt
    from kcircuits.model.loading import Model


def prepare(
    model: str,
    source: Source,
    *,
    with_partners: bool,
    memory: str | None,
    threads: int | None,
    say: bool,
    dtype: str = "float32",
    device_map: str | None = None,
) -> tuple[Model, Chosen]:
    """Load the model and choose the prompts; says on stderr how many these are."""
    loaded = load(model, memory=memory, threads=threads, dtype=dtype, device_map=device_map)
    chosen = choose(source, loaded, with_partners=with_partners, memory=memory)
    if say:
        print(chosen, file=sys.stderr)
    return loaded, chosen


def load(
    model: str,
    *,
    memory: str | None,
    threads: int | None,
    dtype: str = "float32",
    device_map: str | None = None,
) -> Model:
    """Load the model; `memory` is only checked."""
    import torch

    from kcircuits.model.loading import KEPT, load_model
    from kcircuits.runtime.memory import memory_bytes

    memory_bytes(memory)  # a bad size is told before a large model is loaded
    if threads is not None:
        torch.set_num_threads(threads)
    kept: Any = dtype if dtype in KEPT else getattr(torch, dtype)
    loaded = load_model(model, dtype=kept, device_map=device_map)
    # What is there by now stays to the end: no collection looks at it again, not even the one at exit.
    gc.freeze()
    gc.enable()
    return loaded


def read_reference(path: str | None, ablation: str | None, model: Model) -> tuple[Prompt, ...]:
    """The prompts that mean ablation averages over; none where the task's own are meant."""
    from kcircuits.data.prompts import read_prompts

    if path is None:
        return ()
    if not (ablation or "").startswith("mean"):
        got = ablation or "none: give --ablation mean"
        raise KCircuitsError(f"--reference-prompts is for mean ablation alone, got {got}")
    spec = model.spec
    # Their answers are not asked for, so it does not matter which token of one is taken.
    return read_prompts(path, model.tokenizer, spec.vocab_size, spec.max_positions, allow_multi_token=True)
