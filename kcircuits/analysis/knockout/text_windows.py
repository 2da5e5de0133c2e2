"""A text cut into windows of tokens, and its perplexity in masked runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kcircuits.analysis.prepare import check_finite, engines_with_prompts
from kcircuits.data.prompts import Prompt
from kcircuits.data.tokens import tokenise_text
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.forward import normalise
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout
from kcircuits.task import Task

WINDOW = 64
"""Tokens of the text in one window."""

MOST_NATS = 700
"""The exponential of more would overflow."""


@dataclass(frozen=True)
class RunningText:
    """A text whose perplexity is measured.

    Parameters
    ----------
    text
        Any text, such as a page of an encyclopedia.
    tokens
        How many of its tokens are used at most, from its beginning.
    """

    text: str
    tokens: int = 2048

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise KCircuitsError(f"text must be a string, got {quote(self.text)}")
        if type(self.tokens) is not int or self.tokens < 1:
            raise KCircuitsError(f"tokens must be a whole number, at least 1; got {quote(self.tokens)}")


@dataclass(frozen=True)
class TextWindows:
    """A text cut into consecutive windows that do not overlap.

    Parameters
    ----------
    prompts
        One for each window: BOS, if the tokenizer has one, and the window's tokens. The last is the answer.
    first
        Position of the first predicted token: the first after BOS, or the second without BOS.
    """

    prompts: tuple[Prompt, ...]
    first: int

    @property
    def num_predicted(self) -> int:
        """Number of predicted tokens of all windows together."""
        return sum(len(prompt.clean_ids) + 1 - self.first for prompt in self.prompts)

    def targets(self, prompt: Prompt) -> tuple[int, ...]:
        """The predicted tokens of a window."""
        return (*prompt.clean_ids, prompt.answer_id)[self.first :]


def token_windows(
    tokenizer: Any | None,
    text: str,
    spec: ModelSpec,
    positions: int,
    size: int,
    most_tokens: int | None = None,
) -> tuple[list[tuple[int, ...]], int]:
    """Cut a text into consecutive windows of tokens that do not overlap.

    Parameters
    ----------
    tokenizer
        The model's tokenizer; None raises.
    text
        Any text.
    spec
        The model.
    positions
        Maximum number of tokens of a window, including those that the tokenizer puts in front.
    size
        Maximum number of tokens of the text in one window.
    most_tokens
        Maximum number of tokens of the text to use; None uses all.

    Returns
    -------
    windows, num_prefix
        Ids of each window, which begins with the tokens that the tokenizer puts in front of a text (BOS), and
        the number of these tokens.

    Raises
    ------
    KCircuitsError
        If the model has no tokenizer, the text is empty, or a token is not in the model's vocabulary.
    """
    if tokenizer is None:
        raise KCircuitsError("this model has no tokenizer, so it cannot read a text")
    tokens = tokenise_text(tokenizer, text, "text")
    prefix = tokens.ids[: len(tokens.ids) - tokens.num_text_ids]
    ids = tokens.text_ids[:most_tokens]
    if outside := next((token for token in ids if token >= spec.vocab_size), None):
        raise KCircuitsError(f"id {outside} of the text is not in the model's vocabulary")
    size = min(size, positions - len(prefix))
    return [(*prefix, *ids[start : start + size]) for start in range(0, len(ids), size)], len(prefix)


def windows_of(
    tokenizer: Any | None, text: str, spec: ModelSpec, most_tokens: int | None, size: int | None = None
) -> TextWindows:
    """Cut a text into windows for prediction.

    Parameters
    ----------
    tokenizer, text, most_tokens
        As in `token_windows`.
    spec
        The model, which bounds the length of a window.
    size
        Tokens of the text in one window; None is `WINDOW`.

    Raises
    ------
    KCircuitsError
        As `token_windows` does, or if the text is too short to predict anything.
    """
    # The last token of a window is only predicted and needs no position.
    windows, prefix = token_windows(
        tokenizer, text, spec, spec.max_positions + 1, WINDOW if size is None else size, most_tokens
    )
    # The last one may be too short to be split.
    prompts = tuple(Prompt(each[:-1], each[-1]) for each in windows if len(each) > max(1, prefix))
    if not prompts:
        raise KCircuitsError("the text is too short: one token has nothing to be predicted from")
    return TextWindows(prompts, max(1, prefix))


def streams_at_once(spec: ModelSpec) -> int:
    """Number of streams per token in memory at a time: a run's after each layer, twice, and normed."""
    return 2 * (len(spec.layers) + 1) + 3


def text_perplexity(
    spec: ModelSpec, task: Task, windows: TextWindows, masks: np.ndarray, memory: int
) -> tuple[float, ...]:
    """Perplexity, exp of the mean NLL of the predicted tokens, in the masked runs of M circuits, [M].

    Parameters
    ----------
    spec
        The model.
    task
        Its prompts are the windows'.
    windows
        What is predicted.
    masks
        Present edges, bool [M, S, R].
    memory
        Bytes, as in `kcircuits.engine.Engine.masked_rows`.

    Raises
    ------
    KCircuitsError
        If a run overflows, or a perplexity would.
    """
    sums = np.zeros(len(masks))
    vocabulary = dense(spec.unembedding)
    for engine, portion in engines_with_prompts(spec, task, memory, streams_at_once(spec)):
        wanted = [windows.targets(prompt) for prompt in portion]
        targets = torch.tensor([token for each in wanted for token in each])
        before = [
            start + windows.first - 1 + place
            for start, each in zip(engine.starts, wanted, strict=False)
            for place in range(len(each))
        ]
        for index in range(len(masks)):  # one by one: a run's streams after all layers are large
            streams = engine.masked_streams(masks[index : index + 1], torch.tensor(before), memory)
            rows = normalise(spec.final_norm, streams[0, -1].to(vocabulary.device))
            read = vocab_readout(
                rows,
                vocabulary,
                targets.to(rows.device),
                spec.unembedding_bias,
                soft_cap=spec.logit_soft_cap or 0.0,
            )
            nll = read.log_sum_exp - read.target_logits.double()
            check_finite("a prediction of the text", nll)
            sums[index] += float(nll.sum())
    means = sums / windows.num_predicted
    if means.max() > MOST_NATS:
        raise KCircuitsError(f"the perplexity of the text overflows: it is exp({means.max():.0f})")
    return tuple(np.exp(means).tolist())
