"""Edits of tiny models, as tokens."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from kcircuits.editing.tokenise import SubjectPrompt, TokenisedEdit
from tests.models import VOCABULARY


def random_edit(seed: int, target_length: int = 1, num_prefixes: int = 2) -> TokenisedEdit:
    """An edit of random tokens; its prompts differ in length."""
    draw = random.Random(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(VOCABULARY), k=count))

    subject, rest = tokens(2), tokens(2)
    prefixed = tuple(SubjectPrompt(tokens(n + 1) + subject + rest, n + 2) for n in range(num_prefixes))
    return TokenisedEdit(
        SubjectPrompt(subject + rest, 1),
        prefixed,
        SubjectPrompt(subject + tokens(1), 1),
        tokens(target_length),
    )


def random_moment(width: int, seed: int = 0) -> Tensor:
    """A positive definite matrix [F, F]."""
    rows = torch.randn(3 * width, width, generator=torch.Generator().manual_seed(seed))
    return rows.T @ rows / len(rows) + 0.05 * torch.eye(width)
