"""SentencePiece's BPE, which merges by the scores of tokens, as a list of merges.

SentencePiece (and llama.cpp) joins, again and again, the two neighbours whose text together is the token of
the highest score; of equal ones the leftmost. BPE by merges joins the pair that comes first in a list.

Both are the same with one pair per token. Within the characters that become a token T, what is joined is what
would be joined if T stood alone: the best of all neighbours is also the best of those inside. So T can arise
only as it does alone, of the two parts that are joined last there, and no other pair ever makes it. Listed by
falling scores, these pairs are always joined in SentencePiece's order if no two tokens have the same score.
What equal scores allow is in `_ordered`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf

from kcircuits.documents import shown
from kcircuits.errors import KCircuitsError

Pair = tuple[str, str]


def merges_by_score(scores: Mapping[str, float], special: Sequence[str] = ()) -> list[Pair]:
    """The merges that do what merging by scores does.

    Parameters
    ----------
    scores
        Of every token of the vocabulary, by its text; finite. Spaces are marks ("▁") before anything is merged.
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
                    f"the character {part!r} of the token {shown(token)} is not a token of its own; give prompts as "
                    "token ids"
                )
    return [parts[token] for token in _ordered(parts, scores)]


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


def _ordered(parts: Mapping[str, Pair], scores: Mapping[str, float]) -> list[str]:
    """Tokens by falling scores; those of equal scores so that the leftmost wins.

    Of equal scores, a token must come before another whose left part is its right one: that is how two of them
    compete for the part between. It is enough if merging one of them makes no new pair of that score or above.
    """
    by_score: dict[float, list[str]] = defaultdict(list)
    for token in parts:
        by_score[scores[token]].append(token)
    highest_use: dict[str, float] = {}
    for token, pair in parts.items():
        for part in pair:
            highest_use[part] = max(scores[token], highest_use.get(part, scores[token]))
    order: list[str] = []
    for score in sorted(by_score, reverse=True):
        tokens = by_score[score]
        if len(tokens) > 1:
            tokens = _leftmost_first(tokens, parts)
            for token in tokens:
                if highest_use.get(token, score - 1) >= score:
                    raise _compete(tokens)
        order += tokens
    return order


def _leftmost_first(tokens: Sequence[str], parts: Mapping[str, Pair]) -> list[str]:
    by_left: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        by_left[parts[token][0]].append(token)
    waiting = dict.fromkeys(tokens, 0)
    for token in tokens:
        for later in by_left[parts[token][1]]:
            waiting[later] += later != token
    ready = [token for token in tokens if not waiting[token]]
    for token in ready:
        for later in by_left[parts[token][1]]:
            waiting[later] -= later != token
            if later != token and not waiting[later]:
                ready.append(later)
    if len(ready) < len(tokens):
        raise _compete(tokens)
    return ready


def _compete(tokens: Sequence[str]) -> KCircuitsError:
    return KCircuitsError(
        f"tokens of the file's vocabulary have the same score and compete, such as {shown(list(tokens[:3]))}; give "
        "prompts as token ids"
    )
