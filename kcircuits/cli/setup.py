"""What every command does first: threads, model and prompts, checked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kcircuits.cli.prompts import Chosen, Source, choose

if TYPE_CHECKING:
    from kcircuits.model.loading import Model


def prepare(
    model: str,
    source: Source,
    *,
    with_partners: bool,
    memory: str | None,
    threads: int | None,
    say: bool,
) -> tuple[Model, Chosen]:
    """Load the model and choose the prompts; says on stderr how many these are."""
    import torch

    from kcircuits.memory import memory_bytes
    from kcircuits.model.loading import load_model

    memory_bytes(memory)  # a bad size is told before a large model is loaded
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_model(model)
    chosen = choose(source, loaded, with_partners=with_partners, memory=memory)
    if say:
        print(chosen, file=sys.stderr)
    return loaded, chosen
