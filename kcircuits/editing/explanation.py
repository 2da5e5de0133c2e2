"""The result of `explain_edit`: what an edit changed inside the model, and explain.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import TYPE_CHECKING, Any, ClassVar

from kcircuits.analysis.checks import LISTED, check_document, numbers
from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import name_of, printable
from kcircuits.editing.changes import KINDS, BeforeAfter, HeadChange, Kind, NamesChange, NodeChange
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Keys, anything, check_keys, is_object, is_text, list_of, quote
from kcircuits.graph.identity import graph_of
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-explanation/1"
RISEN = 10


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Result):
    """What one edit changed.

    Parameters
    ----------
    model, edited
        Identities of the original model and of the edited one.
    settings
        Settings of the circuit discovery.
    prompt
        The edit's prompt; its answer is the new object, its `wrong` the old one (the first tokens of both).
    edited_nodes
        The nodes whose matrices the edit changed.
    new, old
        Curves of both objects.
    logits
        logit(new) − logit(old) at the last position before and after the edit, before a soft cap.
    changes
        Changes of all nodes and the constants. They add up to the difference of `logits`.
    heads
        The heads whose direct contribution changes most, the largest change first.
    nodes, edges
        Added, lost and kept nodes and edges, between the circuit of the old object in the original model and
        the circuit of the new object in the edited model.
    """

    WHAT: ClassVar[str] = "file of what an edit changed"

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
        """The layer after which the new object rises at the subject's last token (`first_rise`)."""
        return first_rise(self.new.before.subject.rank, self.new.after.subject.rank)

    @property
    def last_rise(self) -> int | None:
        """The layer after which the new object rises at the last position."""
        return first_rise(self.new.before.last.rank, self.new.after.last.rank)

    @property
    def subject_lead(self) -> int | None:
        """Number of layers by which the subject's last token is earlier than the last position."""
        if self.subject_rise is None or self.last_rise is None:
            return None
        return self.last_rise - self.subject_rise

    @property
    def total(self) -> float:
        """The total change of logit(new) − logit(old)."""
        return fsum(each.change for each in self.changes)

    @property
    def shares(self) -> dict[Kind, float] | None:
        """Shares of the total change by kind of node, which add up to 1. None if the total is 0."""
        if not self.total:
            return None
        return {
            kind: fsum(each.change for each in self.changes if each.kind == kind) / self.total
            for kind in KINDS
        }

    def table(self) -> DataFrame:
        """A row for each node and the constants: kind, change, share of the total (None if 0) and flow."""
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

    @classmethod
    def from_json(cls, document: object) -> Explanation:
        """The explanation of a document of `to_json`. Rises and shares are computed again.

        Raises KCircuitsError if it is anything else, or a node does not exist in its model.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        graph = graph_of(given["model"])
        prompt = PromptText.from_json("prompt", given["prompt"])
        check_keys("prompt", given["prompt"], {"wrong": (is_text, "a string")})
        length = graph.num_layers + 1
        new, old = (
            BeforeAfter.from_json(f"curves of {name!r}", given["curves"].get(name), length)
            for name in ("new", "old")
        )
        circuit = check_keys("circuit", given["circuit"], {"nodes": _OBJECT, "edges": _OBJECT})
        nodes, edges = (
            NamesChange.from_json(f"circuit, {level!r}", circuit[level]) for level in ("nodes", "edges")
        )
        known = {*graph.senders, "logits"}
        for name in (*given["edited_nodes"], *nodes.added, *nodes.lost, *nodes.kept):
            if name not in known:
                raise KCircuitsError(f"{quote(name)} is not a node of {graph}")
        before, after = given["logits"]
        return cls(
            model=given["model"],
            edited=given["edited"],
            settings=given["settings"],
            prompt=prompt,
            edited_nodes=tuple(given["edited_nodes"]),
            new=new,
            old=old,
            logits=(before, after),
            changes=tuple(
                NodeChange.from_json(f"changes, {n}", each) for n, each in enumerate(given["changes"])
            ),
            heads=tuple(
                HeadChange.from_json(f"heads, {n}", each, len(prompt.tokens))
                for n, each in enumerate(given["heads"])
            ),
            nodes=nodes,
            edges=edges,
        )

    def describe(self) -> str:
        """Two lines: the edit, then its effect and the shares by kind of node."""
        before, after = self.logits
        new, old = self.prompt.answer.strip(), (self.prompt.wrong or "").strip()
        shares = ", ".join(f"{kind} {share:+.0%}" for kind, share in (self.shares or {}).items())
        text = printable("".join(self.prompt.tokens), 60)
        title = f"Edit of {name_of(self.model)}: {text} → {printable(new, 20)}, not {printable(old, 20)}"
        return f"{title}\nlogit(new) − logit(old) {before:+.3g} → {after:+.3g}; {shares or 'no change'}"

    def panels(self) -> Panels:
        """ "subject" and "last": ranks of both objects there; "nodes": the nodes that change most."""
        from kcircuits.editing.explanation_plot import PANELS

        return PANELS


def first_rise(before: Sequence[float], after: Sequence[float]) -> int | None:
    """The first layer after which a rank is below 10 after an edit and was not before.

    Parameters
    ----------
    before, after
        Ranks after 0 … L layers. An edit cannot change the first.

    Returns
    -------
    int or None
        The layer, counted from 0; None if there is none.

    Examples
    --------
    >>> first_rise([500, 300, 2, 70], [500, 40, 1, 3])
    2
    """
    pairs = zip(before[1:], after[1:], strict=True)
    return next((layer for layer, (old, new) in enumerate(pairs) if new < RISEN <= old), None)


_OBJECT = (is_object, "an object")
_LIST = (list_of(anything, LISTED), "a list")
_DOCUMENT: Keys = {
    **dict.fromkeys(("model", "edited", "settings", "prompt", "curves", "circuit"), _OBJECT),
    "edited_nodes": (list_of(is_text, LISTED), "a list of names"),
    "logits": (numbers(2), "two numbers, before and after"),
    "changes": _LIST,
    "heads": _LIST,
}
