"""Convert SentencePiece's BPE, which merges by the scores of tokens, to a list of merges.

SentencePiece (and llama.cpp) repeatedly merges the two neighbours whose joint text is the token with the
highest score, or the leftmost of several. BPE with a list of merges merges the pair that comes first in the
list.

Both give the same result with one pair per token. Within the characters that become a token T, the merges are
those for T alone, because the best of all neighbouring pairs is also the best of those inside. So T always
arises from the two parts that are merged last if T stands alone, and never from another pair. In a list of
these pairs by decreasing score, merges have SentencePiece's order if no two tokens have the same score.
`_order_tokens` handles equal scores.
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
"""Maximum number of tokens with one score; with more, the scores define no order."""


def merges_by_score(scores: Mapping[str, float], special: Sequence[str] = ()) -> list[Pair]:
    """The list of merges that is equivalent to merging by scores.

    Parameters
    ----------
    scores
        Token -> score for the whole vocabulary; finite. Spaces are written as marks ("▁").
    special
        Tokens that are removed from a text before merging, so they are never part of a merge.

    Returns
    -------
    list of (str, str)
        Pairs of tokens in order of priority.

    Raises
    ------
    KCircuitsError
        If there is no equivalent list of merges: tokens of equal scores compete, or a token contains a
        character that is not a token.
    """
    # A special token with a mark does not match spaces in a text, because they become marks only later.
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
    """The two parts that are merged last if a token stands alone; None if they do not become the token."""

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
    """Function that tells whether a text contains any of the pieces."""
    by_start: dict[str, list[str]] = defaultdict(list)
    for piece in pieces:
        by_start[piece[:2]].append(piece)

    def found(text: str) -> bool:
        starts = {text[index : index + 2] for index in range(len(text) - 1)} | set(text)
        return any(piece in text for start in starts & by_start.keys() for piece in by_start[start])

    return found


def _order_tokens(parts: Mapping[str, Pair], scores: Mapping[str, float]) -> list[str]:
    """Tokens by decreasing score, and with equal scores in the order of `_scan_order`.

    Equal scores are allowed for tokens that are not part of a token with a higher score: then nothing else is
    merged until no two neighbours form one of them.
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
    """Order tokens of one score, such as runs of spaces, so that a list is equivalent to leftmost merging.

    Leftmost merging is a scan that pushes symbols on a stack and merges the top two whenever possible. So
    with symbols w, x, y it does not merge x and y if it can merge w and x. A list does the same if "w x"
    comes before "x y", and w exists by then: all parts of w come before x (of several x, the leftmost is
    built first), or before "x y" if x is not one of these tokens.
    """
    if len(tokens) > _MOST_RIVALS:
        raise _compete(tokens)
    by_left: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        by_left[parts[token][0]].append(token)

    made_of: dict[str, set[str]] = {}  # tokens of this score inside each token, including itself
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
