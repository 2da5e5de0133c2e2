"""Relations, bundled or from a file, and prompts about their facts, optionally with corrupt prompts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain, islice
from pathlib import Path
from typing import Any

from torch import Tensor

from kcircuits.data.lre import Fact, Relation, parse_relation
from kcircuits.data.prompt_warnings import gather_warnings
from kcircuits.data.prompts import Prompt, tokenise
from kcircuits.data.tokens import SEVERAL_TOKENS, AnswerError
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import parse_json, prefix_errors, quote, read_text

BUNDLED = Path(str(files("kcircuits.data"))) / "relations"


@dataclass(frozen=True)
class RelationPrompts:
    """Prompts about a relation, and the number of samples that gave none.

    Parameters
    ----------
    relation, template
        Name of the relation, and the template of all prompts.
    prompts
        One per usable fact.
    dropped
        Number of samples that gave no prompt, by reason. Without a limit, these and the prompts add up to
        the samples of the file.
    """

    relation: str
    template: str
    prompts: tuple[Prompt, ...]
    dropped: dict[str, int]


def bundled_relations() -> tuple[str, ...]:
    """Names of the relations that come with the package."""
    return tuple(sorted(file.stem for file in BUNDLED.glob("*.json")))


def load_relation(source: str | Path) -> Relation:
    """Read a relation.

    Parameters
    ----------
    source
        A name in `bundled_relations()`, or the path of a file in the schema of `kcircuits.data.lre`.

    Raises
    ------
    KCircuitsError
        If there is no such relation, or the file violates the schema.

    Examples
    --------
    >>> relation = load_relation("country-language")
    >>> relation.templates[0]
    'The official language of {} is'
    >>> relation.facts[0]
    Fact(subject='France', objects=('French',))
    """
    bundled = isinstance(source, str) and source in bundled_relations()
    path = BUNDLED / f"{source}.json" if bundled else Path(source)
    try:
        text = read_text(path, "relation", pipe=True)
    except KCircuitsError as error:
        raise KCircuitsError(
            f"no relation {str(source)!r}: {error}; the bundled ones are {', '.join(bundled_relations())}"
        ) from error
    with prefix_errors(f"relation {path}"):
        record = parse_json(text, "relation")
        if not isinstance(record, dict):
            raise KCircuitsError(f"expected a JSON object {{...}}, got {quote(record)}")
        return parse_relation(record)


def relation_prompts(
    relation: Relation,
    tokenizer: Any | None,
    vocab_size: int,
    max_positions: int,
    *,
    template: int = 0,
    limit: int | None = None,
    shuffle_seed: int | None = None,
    corrupt: bool = False,
    allow_multi_token: bool = False,
) -> RelationPrompts:
    """Prompts about the facts of a relation, each with its answer and the subject's tokens.

    With `corrupt`, the corrupt prompt of a fact is the prompt of another fact, its partner, and the partner's
    answer is the wrong answer. The partner is the next fact in cyclic order whose prompt and subject have the
    same numbers of tokens, which shares no object, and whose answer is another token.

    Parameters
    ----------
    relation
        The facts.
    tokenizer
        The model's Hugging Face tokenizer, a fast one.
    vocab_size, max_positions
        Sizes of the model's vocabulary and its longest prompt.
    template
        Index into `relation.templates`.
    limit
        Maximum number of prompts; partners still come from the whole relation.
    shuffle_seed
        Shuffle the facts with this seed; None keeps the order of the file.
    corrupt
        Give every prompt a corrupt prompt; facts without a partner are dropped.
    allow_multi_token
        Use the first token of an object that has several, instead of dropping the fact.

    Raises
    ------
    KCircuitsError
        If there is no such template, the limit is below 1, there is no fast tokenizer, a prompt is too long
        for the model, or no fact gives a prompt.
    """
    check_limit(limit)
    usable, dropped = facts_with_prompts(
        relation,
        tokenizer,
        vocab_size,
        max_positions,
        template=template,
        shuffle_seed=shuffle_seed,
        allow_multi_token=allow_multi_token,
    )
    prompts = _add_partners(usable, dropped) if corrupt else [prompt for _, prompt in usable]
    if not prompts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        hint = (
            "; allow_multi_token=True (--first-token) takes first tokens" if SEVERAL_TOKENS in dropped else ""
        )
        raise KCircuitsError(f"no sample of relation {relation.name!r} gives a prompt: {reasons}{hint}")
    return RelationPrompts(
        relation.name, relation.templates[template], tuple(prompts[:limit]), dict(sorted(dropped.items()))
    )


@gather_warnings()
def facts_with_prompts(
    relation: Relation,
    tokenizer: Any | None,
    vocab_size: int,
    max_positions: int,
    *,
    template: int = 0,
    shuffle_seed: int | None = None,
    allow_multi_token: bool = False,
) -> tuple[list[tuple[Fact, Prompt]], Counter[str]]:
    """The facts that give a prompt, with their prompts, and the number of samples that gave none, by reason.

    Arguments and errors are those of `relation_prompts`, except that an empty result is allowed.
    """
    if not 0 <= template < len(relation.templates):
        raise KCircuitsError(
            f"relation {relation.name!r} has templates 0 to {len(relation.templates) - 1}, got {template}"
        )
    facts = list(relation.facts)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(facts)

    dropped = Counter(relation.merged)
    usable = []
    before, after = relation.templates[template].split("{}")
    for fact in facts:
        try:
            prompt = tokenise(
                tokenizer,
                before + fact.subject + after,
                fact.objects[0],
                subject=(len(before), len(before) + len(fact.subject)),
                vocab_size=vocab_size,
                max_positions=max_positions,
                allow_multi_token=allow_multi_token,
            )
        except AnswerError as error:
            dropped[error.reason] += 1
        except KCircuitsError as error:
            raise KCircuitsError(f"relation {relation.name!r}, subject {fact.subject!r}: {error}") from error
        else:
            usable.append((fact, prompt))
    return usable, dropped


def check_limit(limit: int | None) -> None:
    """Raise KCircuitsError if a limit leaves no prompt."""
    if limit is not None and limit < 1:
        raise KCircuitsError(f"limit must be at least 1, got {limit}")


def known_prompts(
    prompts: Sequence[Prompt], ranks: Sequence[int] | Tensor, k: int = 10
) -> tuple[Prompt, ...]:
    """Keep the prompts whose answer is among the model's k most probable tokens, i.e. facts that it knows.

    Parameters
    ----------
    prompts
        N prompts.
    ranks
        Rank of each answer in the model's prediction, [N]; 1 is the most probable token.
    k
        Highest rank that counts as known.

    Raises
    ------
    KCircuitsError
        If the numbers of ranks and prompts differ, or k is below 1.

    Examples
    --------
    >>> paris, lima = Prompt((5, 6), answer_id=1), Prompt((5, 7), answer_id=2)
    >>> known_prompts([paris, lima], ranks=[1, 11]) == (paris,)
    True
    """
    if len(ranks) != len(prompts):
        raise KCircuitsError(f"there are {len(ranks)} ranks for {len(prompts)} prompts")
    if k < 1:
        raise KCircuitsError(f"k must be at least 1, got {k}")
    return tuple(prompt for prompt, rank in zip(prompts, ranks, strict=True) if rank <= k)


def _add_partners(usable: Sequence[tuple[Fact, Prompt]], dropped: Counter[str]) -> list[Prompt]:
    prompts = []
    for index, (fact, prompt) in enumerate(usable):
        others = chain(islice(usable, index + 1, None), islice(usable, index))
        partner = next((other for them, other in others if _is_partner(fact, prompt, them, other)), None)
        if partner is None:
            dropped["no partner to corrupt with"] += 1
        else:
            prompts.append(replace(prompt, corrupt_ids=partner.clean_ids, wrong_id=partner.answer_id))
    return prompts


def _is_partner(fact: Fact, prompt: Prompt, other_fact: Fact, other: Prompt) -> bool:
    return (
        len(prompt.clean_ids) == len(other.clean_ids)
        and prompt.subject == other.subject
        and prompt.answer_id != other.answer_id
        and not set(fact.objects) & set(other_fact.objects)
    )
