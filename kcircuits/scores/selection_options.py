"""Which edges or nodes to take from scores, as options."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar, Literal

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_number, quote
from kcircuits.runtime.option_fields import option

Level = Literal["edge", "node"]


@dataclass(frozen=True)
class Selection:
    """Which edges or nodes to take; exactly one of `top_n` and `threshold` is given.

    Parameters
    ----------
    top_n
        Take the n best. Equal scores are taken in the order of edges: by sender, then by receiver.
    threshold
        Take all of at least this score.
    absolute
        Judge by |score|. If False, by the score itself: then top-n never takes what is not positive, as
        ablating it does not hurt.
    greedy
        Grow the circuit from `logits` back: only edges into nodes that are already in are candidates, and
        the best of them comes next. With `top_n` and edges only.
    level
        Choose edges, or nodes: their scores are the sums over receivers, `input` and `logits` are always in
        and not counted, and the circuit is every edge between the nodes that are in.

    Raises
    ------
    KCircuitsError
        If the values are out of range or do not go together.

    Examples
    --------
    >>> Selection(top_n=100).absolute
    True
    """

    title: ClassVar[str] = "Selection"

    top_n: int | None = option(
        None,
        help="Number of edges to keep; dead ends are then pruned.",
        metavar="N",
        default_text="the smallest of several sizes with a faithfulness of 0.8",
    )
    threshold: float | None = option(None, help="Keep edges of at least this effect or score.", metavar="T")
    absolute: bool = option(
        True,
        help="Judge edges by the absolute value of their effect or score, or by the signed value.",
        flag="--absolute/--signed",
    )
    greedy: bool = option(False, help="Grow the circuit from the logits back; needs a top-n.")
    level: Level = option("edge", help="Select edges, or nodes with all edges between them.")

    def __post_init__(self) -> None:
        if (self.top_n is None) == (self.threshold is None):
            got = "none" if self.top_n is None else "both"
            example = " (top_n=200 is a common size)" if self.top_n is None else ""
            raise KCircuitsError(f"give a top-n or a threshold to select by, one of them; got {got}{example}")
        if self.top_n is not None and (not is_integer(self.top_n) or self.top_n < 1):
            raise KCircuitsError(f"top-n must be a whole number from 1 on, got {quote(self.top_n)}")
        if self.threshold is not None:
            _check_threshold(self.threshold, self.absolute)
        if self.level not in ("edge", "node"):
            raise KCircuitsError(f"a selection is of level 'edge' or 'node', got {quote(self.level)}")
        if self.greedy and (self.top_n is None or self.level != "edge"):
            raise KCircuitsError("greedy selection takes the best n edges: give it a top-n, and no nodes")


def is_integer(value: object) -> bool:
    """Whether a value is a whole number, of Python's or NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_threshold(threshold: float, absolute: bool) -> None:
    if not is_number(threshold):
        raise KCircuitsError(f"the threshold must be a finite number, got {quote(threshold)}")
    if absolute and threshold < 0:
        raise KCircuitsError(f"a threshold of |score| must be at least 0, got {threshold}")
