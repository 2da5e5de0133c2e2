"""Causal tracing: the MLPs that restore a fact (ROME, arXiv 2202.05262, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kcircuits.data.prompts import Prompt
from kcircuits.editing.stream import Tokens, dense_mlp, enter_mlp, finish_layer, pad_right, run_to_end
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import embed, linear, read_out
from kcircuits.model.loading import Model
from kcircuits.model.spec import Experts, ModelSpec

NOISE, WORDS = 3.0, 4096
"""The noise has NOISE times the standard deviation of the embeddings of the first WORDS tokens."""


@dataclass(frozen=True)
class CausalTrace:
    """Effect of restoring MLPs on a fact whose subject is corrupted by noise.

    Parameters
    ----------
    clean, corrupted
        p(answer) in the clean run, and with noise on the subject's embeddings (mean over samples).
    restored
        For each layer, p(answer) with noise when the MLPs of a window of layers around it have their clean
        output at the subject's last token; mean over samples, [L].
    """

    clean: float
    corrupted: float
    restored: tuple[float, ...]

    @property
    def effects(self) -> tuple[float, ...]:
        """Indirect effects, restored minus corrupted, [L]."""
        return tuple(each - self.corrupted for each in self.restored)

    @property
    def layer(self) -> int:
        """The layer with the largest indirect effect, the first if there are several."""
        return max(range(len(self.restored)), key=lambda layer: (self.restored[layer], -layer))


@torch.no_grad()
def causal_trace(
    model: Model, prompt: Prompt, *, window: int | None = None, samples: int = 8, seed: int = 0
) -> CausalTrace:
    """Trace one fact.

    Parameters
    ----------
    model
        A model without mixtures of experts.
    prompt
        A prompt with a subject, and the answer to trace.
    window
        Number of layers that are restored together, centred on each layer; by default a fifth of all layers
        (as in the paper, 10 of 48).
    samples, seed
        Number of noise samples, and the random seed.

    Raises
    ------
    KCircuitsError
        If the prompt has no subject, a layer is a mixture of experts, or an argument is out of range.
    """
    spec = model.spec
    num_layers = len(spec.layers)
    if prompt.subject is None:
        raise KCircuitsError("a causal trace needs a prompt with a subject")
    if any(isinstance(layer.mlp, Experts) for layer in spec.layers):
        raise KCircuitsError("a causal trace restores MLPs, and this model has mixtures of experts")
    if samples < 1:
        raise KCircuitsError(f"samples must be at least 1, got {samples}")
    window = max(1, round(num_layers / 5)) if window is None else window
    if not 1 <= window <= num_layers:
        raise KCircuitsError(f"window must be from 1 to the {num_layers} layers, got {window}")
    start, stop = prompt.subject
    device = spec.unembedding.device
    one = pad_right([prompt.clean_ids], device)
    ordinary = _Run(spec, one, embed(spec, one.ids, one.positions), stop - 1)
    many = pad_right([prompt.clean_ids] * samples, device)
    blurred = embed(spec, many.ids, many.positions)
    noise = torch.randn(samples, stop - start, spec.width, generator=torch.Generator().manual_seed(seed))
    spread = spec.embedding[:WORDS].float().std() * spec.embedding_scale
    blurred[:, start:stop] += (NOISE * spread * noise.to(device)).to(blurred.dtype)
    noisy = _Run(spec, many, blurred, stop - 1)
    restored = []
    for layer in range(num_layers):
        first = min(max(layer - window // 2, 0), num_layers)
        end = min(layer - window // 2 + window, num_layers)
        restored.append(_probability(spec, noisy.run_restored(ordinary.written, first, end), prompt))
    return CausalTrace(
        _probability(spec, ordinary.final, prompt),
        _probability(spec, noisy.final, prompt),
        tuple(restored),
    )


class _Run:
    """A run from given embeddings [N, T, D]: input of each layer, and output of w_down at a position."""

    def __init__(self, spec: ModelSpec, tokens: Tokens, x: Tensor, position: int) -> None:
        self.spec, self.tokens, self.position = spec, tokens, position
        self.streams, self.written = [], []
        for layer in range(len(spec.layers)):
            self.streams.append(x)
            before = enter_mlp(spec, x, tokens, layer)
            self.written.append(self._mlp_output(before.hidden, layer))
            x = finish_layer(spec, before, layer)
        self.final = run_to_end(spec, x, tokens, len(spec.layers))

    def run_restored(self, written: list[Tensor], first: int, end: int) -> Tensor:
        """Final rows [N, T, D] when layers first … end - 1 have the outputs of another run, [1, D] each."""
        x = self.streams[first]
        for layer in range(first, end):
            before = enter_mlp(self.spec, x, self.tokens, layer)
            added = torch.zeros_like(before.stream)
            added[:, self.position] = written[layer] - self._mlp_output(before.hidden, layer)
            x = finish_layer(self.spec, before, layer, added)
        return run_to_end(self.spec, x, self.tokens, end)

    def _mlp_output(self, hidden: Tensor, layer: int) -> Tensor:
        mlp = dense_mlp(self.spec.layers[layer])
        return linear(hidden[:, self.position], mlp.w_down, mlp.b_down)


def _probability(spec: ModelSpec, final: Tensor, prompt: Prompt) -> float:
    logits = read_out(spec, final[:, -1]).float()
    return float(logits.softmax(dim=-1)[:, prompt.answer_id].mean())
