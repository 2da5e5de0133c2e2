"""SentencePiece's BPE, which merges by the scores of tokens, as a list of merges.

SentencePiece (and llama.cpp) joins, again and again, the two neighbours whose text together is the token of
the highest score; of equal ones the leftmost. BPE by merges joins the pair that comes first in a list.

Both are the same with one pair per token. Within the characters that become a token T, what is joined is what
would be joined if T stood alone: the best of all neighbours is also the best of those inside. So T can arise
only as it does alone, of the two parts that are joined last there, and no other pair ever makes it. Listed by
falling scores, these pairs are always joined in SentencePiece's order if no two tokens have the same score.
`_order_tokens` deals with equal scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from math import inf

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote

Pair = tuple[str, str]

_MOST_RIVALS = 1000
"""Tokens of one score; with more, all have the same, and there is no order."""


def merges_by_score(scores: Mapping[str, float], special: Sequence[str] = ()) -> list[Pair]:
    """The merges that do what merging by scores does.

    Parameters
    ----------
    scores
        Of every token of the vocabulary, by its text; finite. A text's spaces are marks ("▁").
    special
        Tokens that are taken out of a text before, so that nothing with them in it is ever merged.

    Returns
    -------
    list of (str, str)
        Pairs of tokens, the first to be merged first.

    Raises
    ------
    KCircuitsError
        If no list of merges does the same: tokens of equal scores compete, or a character that is no token is
        part of one.
    """
    # A special token with a mark for spaces is not taken out where the text has spaces, which become marks.
    absent = [text for text in special if "▁" not in text and text]
    parts: dict[str, Pair] = {}
    for token in scores:
        if len(token) > 1 and " " not in token and (pair := _last_merge(token, scores)):
            parts[token] = pair
    is_absent = _finder(absent)
    parts = {token: pair for token, pair in parts.items() if not is_absent(token)}
    for token, pair in parts.items():
        for part in pair:
            if part not in scores:
                raise KCircuitsError(
                    f"the character {part!r} of the token {quote(token)} is not a token of its own; give "
                    "prompts as token ids"
                )
    return [parts[token] for token in _order_tokens(parts, scores)]


def _last_merge(token: str, scores: Mapping[str, float]) -> Pair | None:
    """The last two parts of a token when it stands alone, or None if it does not become one."""

    def score_of(index: int) -> float:
        return scores.get(parts[index] + parts[index + 1], -inf)

    parts = list(token)
    pairs = [score_of(index) for index in range(len(parts) - 1)]
    while len(parts) > 2:
        best = max(pairs)
        if best == -inf:
            return None
        place = pairs.index(best)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        del pairs[place]
        if place:
            pairs[place - 1] = score_of(place - 1)
        if place < len(pairs):
            pairs[place] = score_of(place)
    return parts[0], parts[1]


def _finder(pieces: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text has any of the pieces in it."""
    by_start: dict[str, list[str]] = defaultdict(list)
    for piece in pieces:
        by_start[piece[:2]].append(piece)

    def found(text: str) -> bool:
        starts = {text[index : index + 2] for index in range(len(text) - 1)} | set(text)
        return any(piece in text for start in starts & by_start.keys() for piece in by_start[start])

    return found


def _order_tokens(parts: Mapping[str, Pair], scores: Mapping[str, float]) -> list[str]:
    """Tokens by falling scores; those of equal scores as in `_scan_order`.

    Equal scores are allowed for tokens that are parts of none with a higher score: then nothing else is
    merged until no two neighbours make one of them.
    """
    by_score: dict[float, list[str]] = defaultdict(list)
    for token in parts:
        by_score[scores[token]].append(token)
    for token, pair in parts.items():
        for part in pair:
            rivals = by_score.get(scores[part], [])
            if part in parts and scores[token] > scores[part] and len(rivals) > 1:
                raise _compete(rivals)
    order: list[str] = []
    for score in sorted(by_score, reverse=True):
        tokens = by_score[score]
        order += tokens if len(tokens) == 1 else _scan_order(tokens, parts)
    return order


def _scan_order(tokens: Sequence[str], parts: Mapping[str, Pair]) -> list[str]:
    """An order of tokens of one score, such as runs of spaces, that does what merging the leftmost does.

    Merging the leftmost is a scan that puts symbols on a stack and joins the upper two whenever it can. So
    of symbols w, x, y it does not join x and y where w and x can be joined. A list does the same if "w x"
    comes before "x y", and w is there by then: all that w is made of comes before x (of several x, the
    leftmost is made first), or before "x y" if x is not one of these tokens.
    """
    if len(tokens) > _MOST_RIVALS:
        raise _compete(tokens)
    by_left: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        by_left[parts[token][0]].append(token)

    made_of: dict[str, set[str]] = {}  # tokens of this score that one is made of, itself included
    for token in sorted(tokens, key=len):
        made_of[token] = {token}.union(*(made_of.get(part, ()) for part in parts[token]))
    before: dict[str, set[str]] = {token: set() for token in tokens}
    for token in tokens:
        left, right = parts[token]
        for rival in by_left[right]:
            before[rival] |= {token} - {rival}
            later = right if right in made_of else rival
            before[later] |= made_of.get(left, set()) - {later}
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        raise _compete(tokens) from None


def _compete(tokens: Sequence[str]) -> KCircuitsError:
    return KCircuitsError(
        f"tokens of the file's vocabulary have the same score and compete, such as "
        f"{quote(list(tokens[:3]))}; give prompts as token ids"
    )
