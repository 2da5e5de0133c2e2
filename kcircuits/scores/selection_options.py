"""The options of a selection by scores."""

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
    """The rule that selects edges or nodes by scores; give exactly one of `top_n` and `threshold`.

    Parameters
    ----------
    top_n
        Select the n best. Ties are broken by the order of edges: by sender, then by receiver.
    threshold
        Select all with at least this score.
    absolute
        Rank by |score|. If False, rank by the signed score; then top-n never selects scores of 0 or less,
        because ablating these edges does not make the metric worse.
    greedy
        Grow the circuit from `logits` backwards: candidates are the edges into nodes of the circuit, and the
        best candidate is added next. Only with `top_n` and edges.
    level
        Select edges, or nodes. The score of a node is the sum over its receivers; `input` and `logits` are
        always included and not counted; the circuit has every edge between the selected nodes.

    Raises
    ------
    KCircuitsError
        If a value is out of range, or values contradict each other.

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
            raise KCircuitsError(f"give either a top-n or a threshold; got {got}{example}")
        if self.top_n is not None and (not is_integer(self.top_n) or self.top_n < 1):
            raise KCircuitsError(f"top-n must be a whole number from 1 on, got {quote(self.top_n)}")
        if self.threshold is not None:
            _check_threshold(self.threshold, self.absolute)
        if self.level not in ("edge", "node"):
            raise KCircuitsError(f"level must be 'edge' or 'node', got {quote(self.level)}")
        if self.greedy and (self.top_n is None or self.level != "edge"):
            raise KCircuitsError("greedy selection works only with a top-n and level 'edge'")


def is_integer(value: object) -> bool:
    """Whether a value is an integer of Python or NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_threshold(threshold: float, absolute: bool) -> None:
    if not is_number(threshold):
        raise KCircuitsError(f"the threshold must be a finite number, got {quote(threshold)}")
    if absolute and threshold < 0:
        raise KCircuitsError(f"a threshold of |score| must be at least 0, got {threshold}")
