"""Prompts for in-context learning: the same questions without and with examples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from kcircuits.data.lre import Fact, Relation
from kcircuits.data.prompt_warnings import gather_warnings
from kcircuits.data.prompts import Prompt, tokenise
from kcircuits.data.relations import check_limit, facts_with_prompts
from kcircuits.data.tokens import character_spans, tokenise_text
from kcircuits.errors import KCircuitsError

Part = Literal["start", "example", "object", "separator", "query"]
PARTS: tuple[Part, ...] = get_args(Part)
SEPARATOR = "\n"


@dataclass(frozen=True)
class FewShotPair:
    """A question without examples and the same question after some examples.

    Parameters
    ----------
    zero_shot
        The question.
    few_shot
        The examples, one per line, and the question; `subject` is that of the question.
    parts
        The part that each token of `few_shot` belongs to: the "object" of an example, the rest of the
        "example", the "separator" after it, or the "query". The first token, which idle heads attend to, and
        special tokens before it are the "start".
    """

    zero_shot: Prompt
    few_shot: Prompt
    parts: tuple[Part, ...]


@gather_warnings()
def few_shot_pairs(
    relation: Relation,
    tokenizer: Any | None,
    vocab_size: int,
    max_positions: int,
    *,
    shots: int,
    template: int = 0,
    limit: int | None = None,
    shuffle_seed: int | None = None,
    seed: int = 0,
) -> tuple[FewShotPair, ...]:
    """Questions about the facts of a relation, each without and with examples.

    The examples are other facts of the relation that share no object with the question, drawn at random. They
    depend only on the seed and the subject of the question.

    Parameters
    ----------
    relation, tokenizer, vocab_size, max_positions, template, shuffle_seed
        As in `kcircuits.data.relations.relation_prompts`.
    shots
        Number of examples, at least 1.
    limit
        Maximum number of questions; examples still come from the whole relation.
    seed
        Random seed for the choice of examples.

    Raises
    ------
    KCircuitsError
        If there are too few facts, the prompts do not fit the model, or no fact gives a prompt.
    """
    if shots < 1:
        raise KCircuitsError(f"shots must be at least 1, got {shots}")
    check_limit(limit)
    usable, _ = facts_with_prompts(
        relation, tokenizer, vocab_size, max_positions, template=template, shuffle_seed=shuffle_seed
    )
    if not usable:
        raise KCircuitsError(f"no sample of relation {relation.name!r} has an answer of one token")
    place = relation.templates[template].index("{}")
    pairs = []
    for fact, zero_shot in usable[:limit]:
        examples = _examples(relation, fact, shots, seed)
        pieces = _pieces(relation.templates[template], fact, examples)
        text = "".join(piece for _, piece in pieces)
        start = len(text) - len(pieces[-1][1]) + place
        few_shot = tokenise(
            tokenizer,
            text,
            fact.objects[0],
            subject=(start, start + len(fact.subject)),
            vocab_size=vocab_size,
            max_positions=max_positions,
        )
        pairs.append(FewShotPair(zero_shot, few_shot, _parts_of(tokenizer, text, pieces)))
    return tuple(pairs)


def _examples(relation: Relation, fact: Fact, shots: int, seed: int) -> list[Fact]:
    others = [other for other in relation.facts if not set(other.objects) & set(fact.objects)]
    if len(others) < shots:
        raise KCircuitsError(
            f"shots is {shots}, but relation {relation.name!r} has only {len(others)} other facts that share "
            f"no object with {fact.subject!r}"
        )
    return random.Random(f"{seed} {fact.subject}").sample(others, shots)


def _pieces(template: str, fact: Fact, examples: Sequence[Fact]) -> list[tuple[Part, str]]:
    """The pieces of the text of a prompt with examples; an object includes the space before it."""
    pieces: list[tuple[Part, str]] = []
    for example in examples:
        pieces += [
            ("example", template.replace("{}", example.subject)),
            ("object", f" {example.objects[0]}"),
            ("separator", SEPARATOR),
        ]
    return [*pieces, ("query", template.replace("{}", fact.subject))]


def _parts_of(tokenizer: Any, text: str, pieces: Sequence[tuple[Part, str]]) -> tuple[Part, ...]:
    """The part of each token: that of its last character, or "start" at the beginning of the prompt."""
    owners: list[Part] = [part for part, piece in pieces for _ in piece]
    spans = character_spans(tokenizer, tokenise_text(tokenizer, text, "clean"))
    return ("start", *(owners[last - 1] if first < last else "start" for first, last in spans[1:]))
