"""Plain Hugging Face passes without hooks, the reference of the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch

from kcircuits.data.prompts import Prompt, batch


class Plain:
    """Seconds of passes over all prompts of a task in one batch; the prompts have one length."""

    def __init__(self, folder: Path, prompts: Sequence[Prompt]) -> None:
        from transformers import AutoModelForCausalLM

        self.hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.prompts = batch(prompts)

    def forward(self) -> float:
        """A forward pass without gradients: the minimum cost of a test of sequential ACDC."""
        with torch.inference_mode():
            start = perf_counter()
            self.hf_model(self.prompts.clean)
            return perf_counter() - start

    def to_parameters(self) -> float:
        """Forward and `loss.backward()`: every parameter gets a gradient."""
        self.hf_model.requires_grad_(True)
        start = perf_counter()
        self._loss(self.hf_model(self.prompts.clean).logits).backward()
        seconds = perf_counter() - start
        self.hf_model.zero_grad(set_to_none=True)
        return seconds

    def to_embeddings(self) -> float:
        """The same with frozen parameters: the minimum work of any gradient method."""
        self.hf_model.requires_grad_(False)
        start = perf_counter()
        embeddings = self.hf_model.get_input_embeddings()(self.prompts.clean).requires_grad_()
        self._loss(self.hf_model(inputs_embeds=embeddings).logits).backward()
        return perf_counter() - start

    def _loss(self, logits: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(logits))
        last = logits[:, -1]
        assert self.prompts.wrong is not None
        return (last[rows, self.prompts.wrong] - last[rows, self.prompts.answers]).mean()
