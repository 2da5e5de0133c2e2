"""Direct contributions of nodes and attention of heads: the result of `read_heads`, and heads.json."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kcircuits.analysis.checks import LISTED, MOST_PROMPTS, check_document, numbers
from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.circuit import Edge
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
    or_none,
    quote,
)
from kcircuits.graph import Graph
from kcircuits.graph.identity import graph_of
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-heads/1"


@dataclass(frozen=True)
class NodeReading:
    """Direct logit attribution of one node at one position, with the norm's scale of the whole stream.

    Parameters
    ----------
    node, position
        The node's name and the position.
    logit
        What it adds to the answer's logit, relative to the mean over the vocabulary. Negative if the node
        suppresses the answer.
    share
        Share of the answer's logit relative to the mean. Shares of all nodes and constants add up to 1.
    rank
        Rank of the answer in the node's output; 1 is the token that it promotes most.
    top
        The tokens that it promotes most, and their logits relative to the mean.
    attention
        Attention of a head from this position to each token; None for other nodes.
    """

    node: str
    position: int
    logit: float
    share: float
    rank: int
    top: tuple[tuple[str, float], ...]
    attention: tuple[float, ...] | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **vars(self),
            "top": [list(pair) for pair in self.top],
            "attention": self.attention and list(self.attention),
        }

    @classmethod
    def from_json(cls, what: str, node: object, num_tokens: int) -> NodeReading:
        """Read an object of `to_json`, for a prompt of `num_tokens` tokens.

        Raises KCircuitsError if it is anything else; `what` names it.
        """
        found = check_keys(what, node, _NODE)
        if found["position"] >= num_tokens:
            raise KCircuitsError(
                f"{what}: 'position' is {found['position']}, and there are {num_tokens} tokens"
            )
        attention = (or_none(numbers(num_tokens)), f"{num_tokens} numbers or null")
        check_keys(what, found, {"attention": attention})
        return cls(
            **{key: found[key] for key in ("node", "position", "logit", "share", "rank")},
            top=tuple((token, logit) for token, logit in found["top"]),
            attention=None if found["attention"] is None else tuple(found["attention"]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class HeadReadings(Result):
    """Nodes read on some prompts.

    Parameters
    ----------
    model, settings
        Identity of the model, and settings of the reading.
    prompts
        The prompts' texts, [N].
    graph
        The model's graph.
    direct
        What each sender adds to the answer's logit at the last position, float64 [S, N]. None if read from a
        heads.json, which has only the chosen nodes.
    readings
        For each prompt, the chosen nodes at its positions, by falling |logit|.
    into
        The edges into the requested node, the strongest first.
    """

    WHAT: ClassVar[str] = "file of head readings"
    INDENT: ClassVar[int | None] = None

    model: dict[str, Any]
    settings: dict[str, Any]
    prompts: tuple[PromptText, ...]
    graph: Graph
    direct: np.ndarray | None
    readings: tuple[tuple[NodeReading, ...], ...]
    into: tuple[Edge, ...]

    def table(self) -> DataFrame:
        """A row for each prompt, node and position."""
        need("pandas", "tables")
        from pandas import DataFrame

        return DataFrame(
            {"prompt": n, "answer": text.answer, **vars(reading)}
            for n, (text, readings) in enumerate(zip(self.prompts, self.readings, strict=True))
            for reading in readings
        )

    def to_json(self) -> dict[str, Any]:
        """The content of heads.json."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "prompts": [
                {
                    "tokens": list(text.tokens),
                    "answer": text.answer,
                    "subject": text.subject and list(text.subject),
                    "nodes": [reading.to_json() for reading in readings],
                }
                for text, readings in zip(self.prompts, self.readings, strict=True)
            ],
        }
        if "into" in self.settings:
            document["into"] = [
                {"src": edge.sender, "dst": edge.receiver, "score": edge.score} for edge in self.into
            ]
        return document

    @classmethod
    def from_json(cls, document: object) -> HeadReadings:
        """The readings of a document of `to_json`. `direct` and the prompts' wrong answers are None.

        Raises KCircuitsError if it is anything else.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        graph = graph_of(given["model"])
        texts, readings = [], []
        for index, prompt in enumerate(given["prompts"]):
            what = f"prompt {index}"
            text = PromptText.from_json(what, prompt)
            check_keys(what, prompt, {"nodes": (list_of(anything, LISTED), "a list")})
            texts.append(text)
            readings.append(
                tuple(
                    NodeReading.from_json(f"{what}, node {number}", node, len(text.tokens))
                    for number, node in enumerate(prompt["nodes"])
                )
            )
        known = set(graph.senders)
        for reading in (reading for of in readings for reading in of):
            if reading.node not in known:
                raise KCircuitsError(f"{quote(reading.node)} is not a node of {graph}")
        into = [check_keys(f"into, {index}", edge, _EDGE) for index, edge in enumerate(given.get("into", []))]
        return cls(
            model=given["model"],
            settings=given["settings"],
            prompts=tuple(texts),
            graph=graph,
            direct=None,
            readings=tuple(readings),
            into=tuple(Edge(edge["src"], edge["dst"], edge["score"]) for edge in into),
        )

    def at_last_position(self) -> dict[str, list[NodeReading]]:
        """The readings at the prompts' last positions by node, by falling |mean logit|."""
        by_node: dict[str, list[NodeReading]] = {}
        for text, readings in zip(self.prompts, self.readings, strict=True):
            for each in readings:
                if each.position == len(text.tokens) - 1:
                    by_node.setdefault(each.node, []).append(each)
        order = sorted(by_node.items(), key=lambda pair: -abs(fmean(each.logit for each in pair[1])))
        return dict(order)

    def logits(self) -> np.ndarray:
        """What each sender adds to the answer's logit at the last position, mean over prompts, float64 [S].

        NaN for nodes that were not chosen, if this was read from a file.
        """
        if self.direct is not None:
            means: np.ndarray = self.direct.mean(axis=1)
            return means
        found = np.full(len(self.graph.senders), np.nan)
        for node, readings in self.at_last_position().items():
            found[self.graph.sender_index(node)] = fmean(each.logit for each in readings)
        return found

    def describe(self) -> str:
        """Two lines: what was read, then the nodes that contribute most to the answers."""
        strongest = [
            f"{node} {fmean(each.logit for each in of):+.3g}" for node, of in self.at_last_position().items()
        ]
        title = f"Readings of {count_of(len(strongest), 'node')} of {name_of(self.model)}"
        prompts = count_of(len(self.prompts), "prompt")
        return f"{title} on {prompts}\nadded to the answer's logit: {', '.join(strongest[:6])}"

    def panels(self) -> Panels:
        """ "logits": contributions of heads and MLPs to the answer; "attention": of the strongest heads."""
        from kcircuits.analysis.heads.plot import PANELS

        return PANELS


def _is_top(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_text(value[0]) and is_number(value[1])


_NUMBER = (is_number, "a number")
_TEXT = (is_text, "a string")
_COUNT = (is_count, "a whole number from 0 on")
_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "prompts": (list_of(anything, MOST_PROMPTS), f"a list of at most {MOST_PROMPTS}"),
}
_NODE: Keys = {
    "node": _TEXT,
    "position": _COUNT,
    "logit": _NUMBER,
    "share": _NUMBER,
    "rank": _NUMBER,
    "top": (list_of(_is_top, 1000), "a list of tokens with their logits"),
}
_EDGE: Keys = {"src": _TEXT, "dst": _TEXT, "score": _NUMBER}
