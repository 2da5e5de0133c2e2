"""The result of `in_context_learning`: how examples in the prompt change the circuit, and icl.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from kcircuits.analysis.ablations import HeadAblation, RunMeans
from kcircuits.analysis.checks import LISTED, check_document
from kcircuits.circuit import Circuit
from kcircuits.data.few_shot import PARTS, Part
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import count_of, name_of
from kcircuits.files.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_object,
    is_text,
    list_of,
)
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-icl/1"
ASKED = ("zero-shot", "few-shot")
"""Questions without and with examples."""


@dataclass(frozen=True)
class AddedHead:
    """A head that is only in the circuit with examples.

    Parameters
    ----------
    node
        Its name.
    strength
        Sum of the absolute scores of its outgoing edges.
    attention
        Its attention from the last position to each part of the prompt, mean over prompts.
    """

    node: str
    strength: float
    attention: dict[Part, float]


@dataclass(frozen=True)
class CircuitNodes:
    """A circuit's number of edges and its nodes, including "input" and "logits"."""

    num_edges: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class InContext(Result):
    """Questions without ("zero-shot") and with examples ("few-shot").

    Parameters
    ----------
    model, settings
        Identity of the model, and settings of the reading.
    nodes
        Sizes and nodes of both circuits.
    runs
        The full model on both kinds of questions.
    added
        The heads that are only in the circuit with examples, the strongest first.
    ablations
        The full model without these heads on both; None if no head was added.
    circuits
        The circuits themselves. Empty if read from a file, which does not have their edges.
    """

    WHAT: ClassVar[str] = "file of what examples change"

    model: dict[str, Any]
    settings: dict[str, Any]
    nodes: dict[str, CircuitNodes]
    runs: dict[str, RunMeans]
    added: tuple[AddedHead, ...]
    ablations: dict[str, HeadAblation | None]
    circuits: dict[str, Circuit] = field(default_factory=dict, compare=False)

    def table(self) -> DataFrame:
        """A row for each added head."""
        need("pandas", "tables")
        from pandas import DataFrame

        return DataFrame(
            {"node": head.node, "strength": head.strength, **head.attention} for head in self.added
        )

    def to_json(self) -> dict[str, Any]:
        """The content of icl.json."""
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "circuits": {
                name: {"edges": circuit.num_edges, "nodes": list(circuit.nodes)}
                for name, circuit in self.nodes.items()
            },
            "runs": {name: vars(run) for name, run in self.runs.items()},
            "added": [vars(head) for head in self.added],
            "ablations": {name: ablation and ablation.to_json() for name, ablation in self.ablations.items()},
        }

    @classmethod
    def from_json(cls, document: object) -> InContext:
        """Read a document of `to_json`, which has only sizes and nodes of the circuits.

        Raises KCircuitsError if it is anything else.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        check_keys("settings", given["settings"], _SETTINGS)
        named, runs = {}, {}
        ablations: dict[str, HeadAblation | None] = {}
        for asked in ASKED:
            circuit = check_keys(f"circuit {asked!r}", given["circuits"].get(asked), _CIRCUIT)
            named[asked] = CircuitNodes(circuit["edges"], tuple(circuit["nodes"]))
            runs[asked] = RunMeans.from_json(f"run {asked!r}", given["runs"].get(asked))
            check_keys("ablations", given["ablations"], {asked: (anything, "an object or null")})
            ablation = given["ablations"][asked]
            missing = ablation is None and not given["added"]
            ablations[asked] = None if missing else HeadAblation.from_json(f"ablation {asked!r}", ablation)
        added = []
        for index, head in enumerate(given["added"]):
            check_keys(f"added, {index}", head, _HEAD)
            looks = check_keys(
                f"added, {index}, 'attention'", head["attention"], dict.fromkeys(PARTS, _NUMBER)
            )
            added.append(AddedHead(head["node"], head["strength"], {part: looks[part] for part in PARTS}))
        return cls(given["model"], given["settings"], named, runs, tuple(added), ablations)

    def describe(self) -> str:
        """Two lines: the number of heads that examples add, then the accuracy without and with examples."""
        questions = count_of(self.settings["num_prompts"], "question")
        heads = ", ".join(head.node for head in self.added[:6])
        accuracy = ", ".join(f"{name} {run.accuracy:.1%}" for name, run in self.runs.items())
        added = f"{count_of(len(self.added), 'head')} added by examples"
        return (
            f"In-context learning of {name_of(self.model)} on {questions}: {added}"
            f"\naccuracy: {accuracy}; strongest added heads: {heads or 'none'}"
        )

    def panels(self) -> Panels:
        """ "attention": where the added heads attend; "accuracy": with and without these heads."""
        from kcircuits.analysis.in_context.plot import PANELS

        return PANELS


_NUMBER = (is_number, "a number")
_COUNT = (is_count, "a whole number from 0 on")
_OBJECT = (is_object, "an object")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "circuits": _OBJECT,
    "runs": _OBJECT,
    "added": (list_of(anything, LISTED), "a list"),
    "ablations": _OBJECT,
}
_SETTINGS: Keys = {"num_prompts": _COUNT, "ablation": (is_text, "a string")}
_CIRCUIT: Keys = {"edges": _COUNT, "nodes": (list_of(is_text, LISTED), "a list of nodes")}
_HEAD: Keys = {"node": (is_text, "a string"), "strength": _NUMBER, "attention": _OBJECT}
