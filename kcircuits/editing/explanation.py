"""What an edit changed inside the model: the result, for people and for files."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kcircuits.analysis.hallucination_results import AnswerCurve
from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.files import write_atomically
from kcircuits.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

    from kcircuits.analysis.node_reader import NodeReading

FORMAT = "kcircuits-explanation/1"
RISEN = 10
Kind = Literal["edited", "later heads", "later MLPs", "untouched", "constants"]
KINDS: tuple[Kind, ...] = ("edited", "later heads", "later MLPs", "untouched", "constants")


@dataclass(frozen=True)
class ObjectCurves:
    """An object behind 0 … L layers of one model: at the last position, and at the subject's last token."""

    last: AnswerCurve
    subject: AnswerCurve

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"last": self.last.to_json(), "subject": self.subject.to_json()}


@dataclass(frozen=True)
class BeforeAfter:
    """An object's curves in the original model and in the edited one."""

    before: ObjectCurves
    after: ObjectCurves

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"before": self.before.to_json(), "after": self.after.to_json()}


@dataclass(frozen=True)
class NodeChange:
    """By how much an edit changes what a node writes directly to logit(new) − logit(old).

    Parameters
    ----------
    node
        A sender's name; "constants" for the attentions' output biases, which are no node's.
    kind
        "edited" where the edit changed its matrix; "later heads" and "later MLPs" where it reads what edited
        nodes write; "untouched" nodes write the same as before and change by the final norm's scale alone,
        as the constants do.
    change
        After − before.
    flow
        By how much less logit(new) − logit(old) changes where the node writes what it writes in the original
        (`kcircuits.editing.flows`; behind a soft cap, if there is one).
    """

    node: str
    kind: Kind
    change: float
    flow: float


@dataclass(frozen=True)
class HeadChange:
    """What a head does at the last position, in the original model and in the edited one.

    Logits, shares and ranks are those of the new object.
    """

    before: NodeReading
    after: NodeReading

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"before": self.before.to_json(), "after": self.after.to_json()}


@dataclass(frozen=True)
class NamesChange:
    """Names that a circuit has after the edit and had not, had and has not, and has in both."""

    added: tuple[str, ...]
    lost: tuple[str, ...]
    kept: tuple[str, ...]

    @classmethod
    def of(cls, before: Sequence[str], after: Sequence[str]) -> NamesChange:
        """Compare names, kept in their order.

        Examples
        --------
        >>> NamesChange.of(["m0", "m1"], ["m1", "m2"])
        NamesChange(added=('m2',), lost=('m0',), kept=('m1',))
        """
        return cls(_without(after, before), _without(before, after), tuple(n for n in before if n in after))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {name: list(names) for name, names in asdict(self).items()}


@dataclass(frozen=True)
class Explanation:
    """What one edit changed.

    Parameters
    ----------
    model, edited
        Identities of the original model and of the edited one.
    settings
        How the circuits were found.
    prompt
        The edit's prompt; its answer is the new object, its `wrong` the old one (the first tokens of both).
    edited_nodes
        The nodes whose matrices the edit changed.
    new, old
        Curves of both objects.
    logits
        logit(new) − logit(old) at the last position before and after, before a soft cap.
    changes
        Of all nodes and the constants; they add up to the difference of `logits`.
    heads
        The heads whose direct writing changes most, the largest change first.
    nodes, edges
        What of the circuit came, went and stayed: that of the old object in the original model, and that of
        the new object in the edited one.
    """

    model: dict[str, Any]
    edited: dict[str, Any]
    settings: dict[str, Any]
    prompt: PromptText
    edited_nodes: tuple[str, ...]
    new: BeforeAfter
    old: BeforeAfter
    logits: tuple[float, float]
    changes: tuple[NodeChange, ...]
    heads: tuple[HeadChange, ...]
    nodes: NamesChange
    edges: NamesChange

    @property
    def subject_rise(self) -> int | None:
        """The layer behind which the new object rises at the subject's last token (`first_rise`)."""
        return first_rise(self.new.before.subject.rank, self.new.after.subject.rank)

    @property
    def last_rise(self) -> int | None:
        """The layer behind which the new object rises at the last position."""
        return first_rise(self.new.before.last.rank, self.new.after.last.rank)

    @property
    def subject_lead(self) -> int | None:
        """By how many layers the subject's last token is earlier than the last position."""
        if self.subject_rise is None or self.last_rise is None:
            return None
        return self.last_rise - self.subject_rise

    @property
    def total(self) -> float:
        """The whole change of logit(new) − logit(old)."""
        return fsum(each.change for each in self.changes)

    @property
    def shares(self) -> dict[Kind, float] | None:
        """Of the change of logit(new) − logit(old), by kind of node; they add up to 1. None if it is 0."""
        if not self.total:
            return None
        return {
            kind: fsum(each.change for each in self.changes if each.kind == kind) / self.total
            for kind in KINDS
        }

    def table(self) -> DataFrame:
        """A row for every node and the constants: kind, change, its share of the whole, None if that is 0;
        and flow.
        """
        need("pandas", "tables")
        from pandas import DataFrame

        return DataFrame(
            asdict(each) | {"share": each.change / self.total if self.total else None}
            for each in self.changes
        )

    def to_json(self) -> dict[str, Any]:
        """The content of explain.json."""
        return {
            "format": FORMAT,
            "model": self.model,
            "edited": self.edited,
            "settings": self.settings,
            "prompt": self.prompt.to_json(),
            "edited_nodes": list(self.edited_nodes),
            "curves": {"new": self.new.to_json(), "old": self.old.to_json()},
            "subject_rise": self.subject_rise,
            "last_rise": self.last_rise,
            "subject_lead": self.subject_lead,
            "logits": list(self.logits),
            "shares": self.shares,
            "changes": [asdict(each) for each in self.changes],
            "heads": [each.to_json() for each in self.heads],
            "circuit": {"nodes": self.nodes.to_json(), "edges": self.edges.to_json()},
        }

    def save(self, path: str | Path) -> None:
        """Write explain.json, atomically. Raises KCircuitsError if the place cannot be written."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def first_rise(before: Sequence[float], after: Sequence[float]) -> int | None:
    """The first layer behind which a rank is below 10 after an edit and was not before.

    Parameters
    ----------
    before, after
        Ranks behind 0 … L layers; an edit cannot change those behind none.

    Returns
    -------
    int or None
        From 0 on, None if there is no such layer.

    Examples
    --------
    >>> first_rise([500, 300, 2, 70], [500, 40, 1, 3])
    2
    """
    pairs = zip(before[1:], after[1:], strict=True)
    return next((layer for layer, (old, new) in enumerate(pairs) if new < RISEN <= old), None)


def _without(names: Sequence[str], others: Collection[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(name for name in names if name not in known)
