"""The result of `hallucinations`: each error, and nodes that recur over errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, ClassVar

from kcircuits.analysis.checks import LISTED, MOST_PROMPTS, answer_curve, check_document
from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import count_of, name_of
from kcircuits.errors import KCircuitsError
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

FORMAT = "kcircuits-hallucination/1"
DECIDING = 10
RUNS = ("right", "wrong")


@dataclass(frozen=True)
class AnswerCurve:
    """Rank and probability of an answer at the last position after 0 … L layers, each [L + 1]."""

    rank: tuple[float, ...]
    probability: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"rank": list(self.rank), "probability": list(self.probability)}

    @classmethod
    def from_json(cls, what: str, curve: object, length: int) -> AnswerCurve:
        """Read an object of `to_json` with `length` values.

        Raises KCircuitsError if it is anything else; `what` names it.
        """
        found = check_keys(what, curve, answer_curve(length))
        return cls(tuple(found["rank"]), tuple(found["probability"]))


@dataclass(frozen=True)
class Decision:
    """What a node adds to logit(wrong answer) − logit(right answer).

    `share` is its share of the total difference. Shares of all nodes and constants add up to 1.
    """

    node: str
    difference: float
    share: float


@dataclass(frozen=True)
class Hallucination:
    """A prompt on which the model prefers a wrong answer.

    Parameters
    ----------
    text
        The prompt; its `wrong` is the wrong answer.
    right, wrong
        Both answers' curves in the full run.
    overtakes
        Number of layers after which the wrong answer is ahead for good.
    best_layer
        Number of layers after which the right answer's rank is best; the first if there are several.
    difference
        logit(wrong answer) − logit(right answer) after the last layer, before a soft cap.
    nodes
        The heads, MLPs and input by falling share. Those at the end favour the right answer.
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

    @classmethod
    def from_json(cls, what: str, error: object, num_layers: int) -> Hallucination:
        """Read an object of `to_json` whose curves have `num_layers` values.

        Raises KCircuitsError if it is anything else; `what` names it.
        """
        text = PromptText.from_json(what, error)
        found = check_keys(what, error, _ERROR)
        right, wrong = (
            AnswerCurve.from_json(f"{what}, run {run!r}", found["runs"].get(run), num_layers) for run in RUNS
        )
        for key in ("overtakes", "best_layer"):
            if found[key] >= num_layers:
                raise KCircuitsError(f"{what}: {key!r} is {found[key]}, which is not one of the layers")
        nodes = [
            check_keys(f"{what}, node {place}", node, _NODE) for place, node in enumerate(found["nodes"])
        ]
        return cls(
            text=text,
            right=right,
            wrong=wrong,
            overtakes=found["overtakes"],
            best_layer=found["best_layer"],
            difference=found["difference"],
            nodes=tuple(Decision(**{key: node[key] for key in _NODE}) for node in nodes),
        )


@dataclass(frozen=True)
class RecurringNode:
    """A node that decides several errors.

    Parameters
    ----------
    node
        Its name.
    errors
        Number of errors in which it has one of the `DECIDING` largest shares.
    difference
        What it adds to logit(wrong answer) − logit(right answer), mean over all errors.
    share
        `difference` divided by the mean difference of the two logits over all errors. (A mean of single
        shares is not useful: they are huge if the two logits are nearly equal.)
    """

    node: str
    errors: int
    difference: float
    share: float


def recurring_nodes(errors: Sequence[Hallucination]) -> tuple[RecurringNode, ...]:
    """All nodes of at least one error, sorted by the number of errors where they are among the strongest."""
    total = fmean(error.difference for error in errors)
    differences: dict[str, list[float]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for error in errors:
        counts.update(node.node for node in error.nodes[:DECIDING] if node.share > 0)
        for node in error.nodes:
            differences[node.node].append(node.difference)
    means = {node: fmean(values) for node, values in differences.items()}
    found = [RecurringNode(node, counts[node], mean, mean / total) for node, mean in means.items()]
    return tuple(sorted(found, key=lambda node: (-node.errors, -node.difference)))


@dataclass(frozen=True, eq=False, repr=False)
class Hallucinations(Result):
    """The errors of a model on some prompts.

    Parameters
    ----------
    model
        Identity of the model.
    settings
        The number of prompts, "num_prompts", and of errors, "num_errors". With "rank_limit", also the number
        of prompts that it left out, "beyond_rank_limit".
    errors
        At least one. If read from a file, each has only the first and last `DECIDING` nodes.
    recurring
        The result of `recurring_nodes` for all nodes of the errors.
    """

    WHAT: ClassVar[str] = "file of errors"

    model: dict[str, Any]
    settings: dict[str, Any]
    errors: tuple[Hallucination, ...]
    recurring: tuple[RecurringNode, ...]

    def table(self) -> DataFrame:
        """A row for each error and node."""
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
        """The content of hallucination.json, with the first and last `DECIDING` nodes of each error."""
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "layers": list(range(len(self.errors[0].right.rank))),
            "prompts": [replace(error, nodes=_both_ends(error.nodes)).to_json() for error in self.errors],
            "recurring": [vars(node) for node in self.recurring],
        }

    @classmethod
    def from_json(cls, document: object) -> Hallucinations:
        """The errors of a document of `to_json`; raises KCircuitsError if it is anything else."""
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        check_keys("settings", given["settings"], _SETTINGS)
        if "rank_limit" in given["settings"]:
            check_keys("settings", given["settings"], _LIMIT)
        if not given["prompts"]:
            raise KCircuitsError(f"{cls.WHAT}: 'prompts' is empty, so it has no errors")
        length = len(given["layers"])
        recurring = [
            check_keys(f"recurring, {place}", node, _RECURRING)
            for place, node in enumerate(given["recurring"])
        ]
        return cls(
            given["model"],
            given["settings"],
            tuple(
                Hallucination.from_json(f"prompt {index}", error, length)
                for index, error in enumerate(given["prompts"])
            ),
            tuple(RecurringNode(**{key: node[key] for key in _RECURRING}) for node in recurring),
        )

    def describe(self) -> str:
        """Two lines: the number of errors, then the nodes that recur most often."""
        prompts = count_of(self.settings["num_prompts"], "prompt")
        nodes = ", ".join(f"{node.node} {node.difference:+.3g}" for node in self.recurring[:4])
        layer = median(error.overtakes for error in self.errors)
        parts = [f"{len(self.errors):,} of {prompts}", self.left_out]
        parts.append(f"the wrong answer leads after {layer:g} layers")
        return f"Errors of {name_of(self.model)}: {'; '.join(filter(None, parts))}\ndeciding nodes: {nodes}"

    @property
    def left_out(self) -> str:
        """How many prompts the rank limit left out, in words; empty without a limit."""
        if "rank_limit" not in self.settings:
            return ""
        return left_out_by(self.settings["rank_limit"], self.settings["beyond_rank_limit"])

    def panels(self) -> Panels:
        """ "ranks": both answers over layers; "nodes": the nodes that decide between them."""
        from kcircuits.analysis.hallucination.plot import PANELS

        return PANELS


def left_out_by(rank_limit: int, beyond: int) -> str:
    """How many prompts a rank limit left out, in words.

    Examples
    --------
    >>> left_out_by(100, 2)
    "2 are left out, as the right answer's rank is above 100"
    """
    left_out = f"{beyond:,} {'is' if beyond == 1 else 'are'} left out"
    return f"{left_out}, as the right answer's rank is above {rank_limit:,}"


def _both_ends(nodes: tuple[Decision, ...]) -> tuple[Decision, ...]:
    return nodes if len(nodes) <= 2 * DECIDING else nodes[:DECIDING] + nodes[-DECIDING:]


_NUMBER = (is_number, "a number")
_TEXT = (is_text, "a string")
_COUNT = (is_count, "a whole number from 0 on")
_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "layers": (list_of(is_count, LISTED), "a list of layers"),
    "prompts": (list_of(anything, MOST_PROMPTS), f"a list of at most {MOST_PROMPTS}"),
    "recurring": (list_of(anything, LISTED), "a list"),
}
_SETTINGS: Keys = {"num_prompts": _COUNT, "num_errors": _COUNT}
_LIMIT: Keys = {"rank_limit": _COUNT, "beyond_rank_limit": _COUNT}
_ERROR: Keys = {
    "wrong": _TEXT,
    "runs": (is_object, "an object"),
    "overtakes": _COUNT,
    "best_layer": _COUNT,
    "difference": _NUMBER,
    "nodes": (list_of(anything, LISTED), "a list"),
}
_NODE: Keys = {"node": _TEXT, "difference": _NUMBER, "share": _NUMBER}
_RECURRING: Keys = {"node": _TEXT, "errors": _COUNT, "difference": _NUMBER, "share": _NUMBER}
