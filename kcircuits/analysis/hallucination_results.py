"""What is found out about errors: of each, and which nodes recur."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.files import write_atomically
from kcircuits.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-hallucination/1"
DECIDING = 10


@dataclass(frozen=True)
class AnswerCurve:
    """An answer at the last position behind 0 … L layers, each [L + 1]."""

    rank: tuple[float, ...]
    probability: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"rank": list(self.rank), "probability": list(self.probability)}


@dataclass(frozen=True)
class Decision:
    """What a node adds to the wrong answer's logit above the right one's.

    `share` is of the whole difference; shares of all nodes and constants add up to 1.
    """

    node: str
    difference: float
    share: float


@dataclass(frozen=True)
class Hallucination:
    """A prompt on which the wrong answer wins.

    Parameters
    ----------
    text
        The prompt; its `wrong` is the wrong answer.
    right, wrong
        Both answers' curves in the full run.
    overtakes
        The wrong answer is ahead behind so many layers and all later ones.
    best_layer
        Behind how many layers the right answer's rank is best; the first of several.
    difference
        The wrong answer's logit − the right one's at the end, before a soft cap.
    nodes
        The heads, MLPs and input that decide it, by falling share; those at the end hold it back.
    """

    text: PromptText
    right: AnswerCurve
    wrong: AnswerCurve
    overtakes: int
    best_layer: int
    difference: float
    nodes: tuple[Decision, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return self.text.to_json() | {
            "runs": {"right": self.right.to_json(), "wrong": self.wrong.to_json()},
            "overtakes": self.overtakes,
            "best_layer": self.best_layer,
            "best_rank": self.right.rank[self.best_layer],
            "difference": self.difference,
            "nodes": [vars(node) for node in self.nodes],
        }


@dataclass(frozen=True)
class Recurring:
    """A node that decides several errors.

    Parameters
    ----------
    node
        Its name.
    errors
        In how many of them it is among the `DECIDING` largest shares.
    difference
        The mean over all errors of what it adds to the wrong answer's logit above the right one's.
    share
        Its difference in the mean difference of the two logits, over all errors. (Of single shares there is
        no useful mean: where the two logits are nearly equal, they are huge.)
    """

    node: str
    errors: int
    difference: float
    share: float


@dataclass(frozen=True)
class Hallucinations:
    """The errors of a model on some prompts; `settings` say how many prompts it got right."""

    model: dict[str, Any]
    settings: dict[str, Any]
    errors: tuple[Hallucination, ...]

    @property
    def recurring(self) -> tuple[Recurring, ...]:
        """All nodes, those first that are among the strongest of most errors."""
        total = fmean(error.difference for error in self.errors)
        differences: dict[str, list[float]] = defaultdict(list)
        counts: Counter[str] = Counter()
        for error in self.errors:
            counts.update(node.node for node in error.nodes[:DECIDING] if node.share > 0)
            for node in error.nodes:
                differences[node.node].append(node.difference)
        means = {node: fmean(values) for node, values in differences.items()}
        found = [Recurring(node, counts[node], mean, mean / total) for node, mean in means.items()]
        return tuple(sorted(found, key=lambda node: (-node.errors, -node.difference)))

    def table(self) -> DataFrame:
        """A row for every error and node."""
        need("pandas", "tables")
        from pandas import DataFrame

        return DataFrame(
            {
                "prompt": n,
                "answer": error.text.answer,
                "wrong": error.text.wrong,
                "overtakes": error.overtakes,
                **vars(node),
            }
            for n, error in enumerate(self.errors)
            for node in error.nodes
        )

    def to_json(self) -> dict[str, Any]:
        """The content of hallucination.json; of every error the `DECIDING` nodes at either end."""
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "layers": list(range(len(self.errors[0].right.rank))),
            "prompts": [replace(error, nodes=_both_ends(error.nodes)).to_json() for error in self.errors],
            "recurring": [vars(node) for node in self.recurring],
        }

    def save(self, path: str | Path) -> None:
        """Write hallucination.json, atomically. Raises KCircuitsError if the place cannot be written."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def _both_ends(nodes: tuple[Decision, ...]) -> tuple[Decision, ...]:
    return nodes if len(nodes) <= 2 * DECIDING else nodes[:DECIDING] + nodes[-DECIDING:]
