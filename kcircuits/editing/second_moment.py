"""C = E[k kᵀ]: second moment of an MLP's keys in ordinary text (ROME, arXiv 2202.05262, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kcircuits.analysis.knockout.text_windows import token_windows
from kcircuits.data.tokens import tokenise_text
from kcircuits.display.progress import show_steps
from kcircuits.editing.sampling import STARTS, sample_tokens
from kcircuits.editing.stream import Tokens, pad_right, run_to_mlp
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import prefix_errors, read_text
from kcircuits.files.tensor_files import tensor_bytes
from kcircuits.model.cache import cache_folder, digest_of, write_cache
from kcircuits.model.identity import exact_identity
from kcircuits.model.loading import Model

WINDOW = 64  # tokens of a text in one window, after BOS
SAMPLES, SAMPLED_LENGTH = 320, 16
AT_ONCE = 4096  # tokens
LEAST_TOKENS = 256
FORMAT = "kcircuits-moment/2"


@dataclass(frozen=True)
class SecondMoment:
    """An estimate of C at one layer.

    Parameters
    ----------
    matrix
        The matrix after shrinkage, float32 [F, F].
    layer
        Layer of the MLP.
    source
        Description of the data: "identity", a file's name, or "text sampled from the model".
    num_tokens
        Number of keys in the estimate; 0 for the identity.
    """

    matrix: Tensor
    layer: int
    source: str
    num_tokens: int


def identity_moment(width: int, layer: int) -> SecondMoment:
    """C = 1, which treats all keys as equally common. Edits then affect more of their neighbours."""
    return SecondMoment(torch.eye(width), layer, "identity", 0)


def second_moment(
    model: Model,
    layer: int,
    *,
    text: str | Path | None = None,
    shrinkage: float = 0.01,
    seed: int = 0,
    progress: Callable[[int, int], None] | bool | None = None,
) -> SecondMoment:
    """Estimate C at a layer, or read the estimate of an earlier call from the cache.

    Parameters
    ----------
    model
        A model with a tokenizer.
    layer
        Layer of the MLP.
    text
        A text file, cut into windows of 64 tokens after BOS (if the tokenizer has one). Without a file, 320
        texts of 16 tokens sampled from the model.
    shrinkage
        α in (1 − α) C + α tr(C)/F · 1, which makes an estimate from few tokens invertible.
    seed
        Random seed of the sampling.
    progress
        As in `kcircuits.discover`. A callback gets the number of finished tokens and of all tokens.

    Raises
    ------
    KCircuitsError
        If the file cannot be read or is too short, or the shrinkage is not in (0, 1].
    """
    if not 0 < shrinkage <= 1:
        raise KCircuitsError(f"shrinkage must be above 0 and at most 1, got {shrinkage}")
    with prefix_errors(text):
        windows = None if text is None else _windows(model, read_text(text, "text"))
    name = _name(model, layer, _starts(model) if windows is None else windows, seed if windows is None else 0)
    found = _read(cache_folder() / name)
    if found is None:
        with show_steps(progress, "tokens of sampled texts") as report:
            found = accumulate_moment(model.spec, layer, windows or _sample_texts(model, seed, report))
        header = {"format": FORMAT, "num_tokens": str(found[1])}
        write_cache(name, tensor_bytes({"moment": found[0]}, header))
    moment, num_tokens = found
    mean = moment.diagonal().mean()
    shrunk = (1 - shrinkage) * moment + shrinkage * mean * torch.eye(len(moment))
    source = "text sampled from the model" if text is None else Path(text).name
    return SecondMoment(shrunk.to(model.spec.unembedding.device), layer, source, num_tokens)


@torch.no_grad()
def accumulate_moment(spec: Any, layer: int, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, int]:
    """Σ k kᵀ / n over all tokens of some prompts, float32 [F, F], accumulated in float64; and n."""
    total, count = torch.zeros(1, dtype=torch.float64), 0
    at_once = max(1, AT_ONCE // max(map(len, prompts)))
    for first in range(0, len(prompts), at_once):
        tokens: Tokens = pad_right(list(prompts[first : first + at_once]), spec.unembedding.device)
        keys = run_to_mlp(spec, tokens, layer).hidden[tokens.mask].float()
        total = total + (keys.T @ keys).double().cpu()
        count += len(keys)
    return (total / count).float(), count


def _starts(model: Model) -> list[tuple[int, ...]]:
    """Beginnings of sampled texts: words after BOS with the same number of tokens as the first."""
    starts = [tokenise_text(model.tokenizer, word, "start").ids for word in STARTS]
    return [start for start in starts if len(start) == len(starts[0])]


def _sample_texts(
    model: Model, seed: int, progress: Callable[[int, int], None] | None
) -> list[tuple[int, ...]]:
    starts = _starts(model)
    many = [starts[n % len(starts)] for n in range(SAMPLES)]
    return [tuple(row) for row in sample_tokens(model.spec, many, SAMPLED_LENGTH, seed, progress).tolist()]


def _windows(model: Model, text: str) -> list[tuple[int, ...]]:
    windows, prefix = token_windows(model.tokenizer, text, model.spec, model.spec.max_positions, WINDOW)
    count = sum(len(window) - prefix for window in windows)
    if count < LEAST_TOKENS:
        raise KCircuitsError(f"the text has {count} tokens, but at least {LEAST_TOKENS} are needed")
    return windows


def _name(model: Model, layer: int, ids: Sequence[tuple[int, ...]], seed: int) -> str:
    """The name in the cache, which depends on the model, the layer and the tokens."""
    of_model = exact_identity(model.identity, model.spec)
    parts = (of_model["weights"], of_model["description"], str(layer), str(seed), repr(list(ids)))
    return f"moment-{digest_of(*(part.encode() for part in parts))}.safetensors"


def _read(path: Path) -> tuple[Tensor, int] | None:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                return None
            return file.get_tensor("moment"), int(header["num_tokens"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
