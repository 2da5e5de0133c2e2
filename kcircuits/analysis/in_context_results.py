"""What examples change in a model, found by `kcircuits.analysis.in_context`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.analysis.ablations import HeadAblation, means_of
from kcircuits.circuit import Circuit
from kcircuits.data.few_shot import Part
from kcircuits.evaluate.measures import RunMeasures
from kcircuits.files import write_atomically
from kcircuits.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-icl/1"


@dataclass(frozen=True)
class AddedHead:
    """A head that only the circuit with examples has.

    Parameters
    ----------
    node
        Its name.
    strength
        The sum of the absolute scores of the edges that leave it.
    attention
        How much it looks at each part of the prompt from the last position, mean over prompts.
    """

    node: str
    strength: float
    attention: dict[Part, float]


@dataclass(frozen=True)
class InContext:
    """Questions without ("zero-shot") and with examples ("few-shot").

    Parameters
    ----------
    model, settings
        Identity of the model, and how it was found.
    circuits
        The circuits of both.
    runs
        The full model on both.
    added
        The heads that only the circuit with examples has, the strongest first.
    ablations
        The full model without these on both; None where none was added.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    circuits: dict[str, Circuit]
    runs: dict[str, RunMeasures]
    added: tuple[AddedHead, ...]
    ablations: dict[str, HeadAblation | None]

    def table(self) -> DataFrame:
        """A row for every added head."""
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
                name: {"edges": len(circuit.edges), "nodes": list(circuit.nodes)}
                for name, circuit in self.circuits.items()
            },
            "runs": {name: means_of(run) for name, run in self.runs.items()},
            "added": [vars(head) for head in self.added],
            "ablations": {name: ablation and ablation.to_json() for name, ablation in self.ablations.items()},
        }

    def save(self, path: str | Path) -> None:
        """Write icl.json, atomically. Raises KCircuitsError if the place cannot be written."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
