"""Changes of curves, nodes, heads and names by an edit: the parts of an `Explanation`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kcircuits.analysis.checks import LISTED
from kcircuits.analysis.hallucination.results import AnswerCurve
from kcircuits.analysis.heads.results import NodeReading
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Keys, check_keys, is_number, is_object, is_text, list_of

WHEN = ("before", "after")
CHANGES = ("added", "lost", "kept")
_OBJECT = (is_object, "an object")
Kind = Literal["edited", "later heads", "later MLPs", "untouched", "constants"]
KINDS: tuple[Kind, ...] = ("edited", "later heads", "later MLPs", "untouched", "constants")


@dataclass(frozen=True)
class ObjectCurves:
    """An object after 0 … L layers of one model: at the last position, and at the subject's last token."""

    last: AnswerCurve
    subject: AnswerCurve

    @classmethod
    def from_json(cls, what: str, curves: object, length: int) -> ObjectCurves:
        """What an object of `to_json` holds; raises KCircuitsError if it is anything else."""
        found = check_keys(what, curves, dict.fromkeys(("last", "subject"), _OBJECT))
        last, subject = (
            AnswerCurve.from_json(f"{what}, {place!r}", found[place], length) for place in ("last", "subject")
        )
        return cls(last, subject)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"last": self.last.to_json(), "subject": self.subject.to_json()}


@dataclass(frozen=True)
class BeforeAfter:
    """An object's curves in the original model and in the edited one."""

    before: ObjectCurves
    after: ObjectCurves

    @classmethod
    def from_json(cls, what: str, curves: object, length: int) -> BeforeAfter:
        """What an object of `to_json` holds; raises KCircuitsError if it is anything else."""
        found = check_keys(what, curves, dict.fromkeys(WHEN, _OBJECT))
        before, after = (ObjectCurves.from_json(f"{what}, {when}", found[when], length) for when in WHEN)
        return cls(before, after)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"before": self.before.to_json(), "after": self.after.to_json()}


@dataclass(frozen=True)
class NodeChange:
    """Change of a node's direct contribution to logit(new) − logit(old) by an edit.

    Parameters
    ----------
    node
        A sender's name; "constants" for the attention output biases, which belong to no node.
    kind
        "edited" if the edit changed its matrix; "later heads" and "later MLPs" if it reads edited nodes;
        "untouched" nodes have the same output as before and, like the constants, change only through the
        scale of the final norm.
    change
        After − before.
    flow
        How much smaller the change of logit(new) − logit(old) is when the node keeps its original output
        (`kcircuits.editing.flows`; after the soft cap, if there is one).
    """

    node: str
    kind: Kind
    change: float
    flow: float

    @classmethod
    def from_json(cls, what: str, change: object) -> NodeChange:
        """What an object of explain.json holds; raises KCircuitsError if it is anything else."""
        found = check_keys(what, change, _CHANGE)
        return cls(**{key: found[key] for key in _CHANGE})


@dataclass(frozen=True)
class HeadChange:
    """A head's reading at the last position in the original and in the edited model.

    Logits, shares and ranks are those of the new object.
    """

    before: NodeReading
    after: NodeReading

    @classmethod
    def from_json(cls, what: str, head: object, num_tokens: int) -> HeadChange:
        """What an object of `to_json` holds; raises KCircuitsError if it is anything else."""
        found = check_keys(what, head, dict.fromkeys(WHEN, _OBJECT))
        before, after = (NodeReading.from_json(f"{what}, {when}", found[when], num_tokens) for when in WHEN)
        if before.attention is None or after.attention is None:
            raise KCircuitsError(f"{what}: 'attention' must be a row of numbers, got None")
        return cls(before, after)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"before": self.before.to_json(), "after": self.after.to_json()}


@dataclass(frozen=True)
class NamesChange:
    """Names that a circuit gains by the edit, loses and keeps."""

    added: tuple[str, ...]
    lost: tuple[str, ...]
    kept: tuple[str, ...]

    @classmethod
    def compare(cls, before: Sequence[str], after: Sequence[str]) -> NamesChange:
        """Compare names, kept in their order.

        Examples
        --------
        >>> NamesChange.compare(["m0", "m1"], ["m1", "m2"])
        NamesChange(added=('m2',), lost=('m0',), kept=('m1',))
        """
        return cls(_subtract(after, before), _subtract(before, after), tuple(n for n in before if n in after))

    @classmethod
    def from_json(cls, what: str, names: object) -> NamesChange:
        """What an object of `to_json` holds; raises KCircuitsError if it is anything else."""
        found = check_keys(what, names, dict.fromkeys(CHANGES, (list_of(is_text, LISTED), "a list of names")))
        return cls(*(tuple(found[change]) for change in CHANGES))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {name: list(names) for name, names in asdict(self).items()}


_CHANGE: Keys = {
    "node": (is_text, "a string"),
    "kind": (lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    "change": (is_number, "a number"),
    "flow": (is_number, "a number"),
}


def _subtract(names: Sequence[str], others: Collection[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(name for name in names if name not in known)
