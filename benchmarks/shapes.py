"""Models with LLaMA's shape and random weights, of any size, without files."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from kcircuits.data.prompts import Prompt
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec, Norm, Rotary


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; the width is heads * head_dim."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @property
    def parameters(self) -> int:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer = self.width * (2 * queries + 2 * keys + 3 * self.hidden)
        return self.layers * layer + 2 * self.vocabulary * self.width


TINY_LLAMA = Shape(22, 32, 4, 64, 5632, 32000)
LLAMA_2_7B = Shape(32, 32, 32, 128, 11008, 32000)
LLAMA_3_70B = Shape(80, 64, 8, 128, 28672, 128256)


def random_spec(
    shape: Shape, *, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> ModelSpec:
    """A model of this shape, scaled so that streams stay near 1. On "meta" it has sizes but no weights."""
    generator = None if device == "meta" else torch.Generator().manual_seed(seed)

    def weight(*sizes: int) -> torch.Tensor:
        if generator is None:
            return torch.empty(*sizes, device=device, dtype=dtype)
        return (torch.randn(*sizes, generator=generator) * sizes[-1] ** -0.5).to(dtype)

    def norm() -> Norm:
        return Norm("rmsnorm", 1e-5, torch.ones(shape.width, device=device))

    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    steps = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
    rotary = Rotary((1.0 / 10000**steps).to(device))
    layers = tuple(
        Layer(
            attention_norm=norm(),
            attention=Attention(
                w_q=weight(queries, shape.width),
                w_k=weight(keys, shape.width),
                w_v=weight(keys, shape.width),
                w_o=weight(shape.width, queries),
                scale=shape.head_dim**-0.5,
                rotary=rotary,
            ),
            mlp_norm=norm(),
            mlp=Mlp(
                "silu",
                w_up=weight(shape.hidden, shape.width),
                w_gate=weight(shape.hidden, shape.width),
                w_down=weight(shape.width, shape.hidden),
            ),
        )
        for _ in range(shape.layers)
    )
    return ModelSpec(
        family="llama",
        num_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        embedding=weight(shape.vocabulary, shape.width),
        layers=layers,
        final_norm=norm(),
        unembedding=weight(shape.vocabulary, shape.width),
        max_positions=4096,
    )


def random_prompts(count: int, length: int, vocabulary: int, seed: int = 0) -> tuple[Prompt, ...]:
    """Pairs of random clean and corrupt prompts, all of one length."""
    draw = random.Random(seed)

    def ids() -> tuple[int, ...]:
        return tuple(draw.choices(range(vocabulary), k=length))

    return tuple(Prompt(ids(), *answers(draw, vocabulary, ids())) for _ in range(count))


def answers(
    draw: random.Random, vocabulary: int, corrupt: tuple[int, ...]
) -> tuple[int, tuple[int, ...], int]:
    """The fields after a prompt's ids: the answer, the corrupt ids, and the wrong answer."""
    answer, wrong = draw.sample(range(vocabulary), 2)
    return answer, corrupt, wrong
