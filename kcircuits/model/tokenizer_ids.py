"""Check the token ids in a tokenizer's files before a library allocates a table up to the highest id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote

# Some tokenizers skip ids. A table of this size costs megabytes, and no vocabulary is larger.
MOST_LEFT_OUT = 2**22


def check_ids(folder: Path) -> None:
    """Refuse a vocabulary with ids far beyond its size, which would need a table of gigabytes.

    Raises KCircuitsError with the id and the size. Invalid files are left to the libraries.
    """
    for name, vocabulary in (
        ("tokenizer.json", lambda document: document["model"]["vocab"]),
        ("vocab.json", lambda document: document),
        ("added_tokens.json", lambda document: document),
    ):
        try:
            vocab: Any = vocabulary(json.loads((folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if isinstance(vocab, dict) and vocab:
            _check(name, {token: id for token, id in vocab.items() if type(id) is int})


def _check(name: str, vocab: dict[str, int]) -> None:
    token = max(vocab, key=vocab.__getitem__, default=None)
    if token is not None and vocab[token] >= len(vocab) + MOST_LEFT_OUT:
        raise KCircuitsError(
            f"{name}: the token {quote(token)} has the id {vocab[token]}, but the vocabulary has "
            f"{len(vocab):,} tokens"
        )
