"""Readings of chosen nodes, prompt by prompt: what they write, and where heads look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kcircuits.analysis.direct import Unembedding
from kcircuits.analysis.nodes import read_nodes
from kcircuits.analysis.prepare import check_finite
from kcircuits.analysis.prompt_texts import text_of
from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.graph import layer_of
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec


@dataclass(frozen=True)
class NodeReading:
    """What one node writes at one position, read as if it were the whole stream, at that stream's scale.

    Parameters
    ----------
    node, position
        Which.
    logit
        What it adds to the answer's logit, above the mean over the vocabulary: negative where the node
        suppresses the answer.
    share
        Of the answer's logit above the mean; shares of all nodes and of the constants add up to 1.
    rank
        Of the answer in what the node writes; 1 is what it raises most.
    top
        The tokens that it raises most, and by how much above the mean.
    attention
        Of a head: how much it looks at each token from this position; None for others.
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


@dataclass(frozen=True)
class NodeReader:
    """Reads the chosen nodes of one portion of the prompts after the other."""

    model: Model
    spec: ModelSpec
    unembedding: Unembedding
    nodes: torch.Tensor
    top: int

    def read(
        self, engine: Engine, prompts: Sequence[Prompt], *, all_positions: bool
    ) -> list[tuple[NodeReading, ...]]:
        """The readings of each prompt."""
        positions = [_positions(prompt, all_positions) for prompt in prompts]
        counts = [len(of) for of in positions]
        rows = [start + at for start, of in zip(engine.starts, positions, strict=False) for at in of]
        answers = torch.tensor([prompt.answer_id for prompt in prompts])
        senders = engine.senders()
        # Every position in order is the senders themselves, which are large.
        there = senders if rows == list(range(senders.shape[1])) else senders[:, torch.tensor(rows)]
        read = read_nodes(
            self.unembedding,
            there.to(self.spec.unembedding.device),
            self.nodes,
            answers.repeat_interleave(torch.tensor(counts)),
            self.top,
        )
        share = read.logit / read.total
        check_finite("the share of a node in the answer's logit", share)
        columns = {
            "logit": read.logit.tolist(),
            "share": share.tolist(),
            "rank": read.rank.tolist(),
            "ids": read.top_ids.tolist(),
            "logits": read.top_logits.tolist(),
        }
        looks = self._attention(engine, prompts, positions)
        place, of_prompts = 0, []
        for n, of in enumerate(positions):
            found = []
            for at in of:
                here = []
                for k in range(len(self.nodes)):
                    values = {name: column[k][place] for name, column in columns.items()}
                    here.append(self._reading(k, at, looks[n].get((k, at)), values))
                found += sorted(here, key=lambda reading: -abs(reading.logit))
                place += 1
            of_prompts.append(tuple(found))
        return of_prompts

    def _reading(
        self, k: int, position: int, attention: tuple[float, ...] | None, values: dict[str, Any]
    ) -> NodeReading:
        ids, logits = values.pop("ids"), values.pop("logits")
        top = tuple((text_of(self.model, token), logit) for token, logit in zip(ids, logits, strict=True))
        name = self.spec.graph.senders[int(self.nodes[k])]
        return NodeReading(node=name, position=position, top=top, attention=attention, **values)

    def _attention(
        self, engine: Engine, prompts: Sequence[Prompt], positions: Sequence[Sequence[int]]
    ) -> list[dict[tuple[int, int], tuple[float, ...]]]:
        """For each prompt: the attention of the k-th chosen node from a position, of heads alone."""
        graph = self.spec.graph
        found: list[dict[tuple[int, int], tuple[float, ...]]] = [{} for _ in prompts]
        names = [graph.senders[int(node)] for node in self.nodes]
        for layer in sorted({int(layer_of(name) or 0) for name in names if name.startswith("a")}):
            pattern = engine.attention(layer)[0].cpu()
            for k, name in enumerate(names):
                if not name.startswith(f"a{layer}."):
                    continue
                head = pattern[int(name.partition(".h")[2])]
                for n, of in enumerate(positions):
                    for at in of:
                        row = head[n, at, : len(prompts[n].clean_ids)]
                        found[n][k, at] = tuple(row.tolist())
        return found


def _positions(prompt: Prompt, all_positions: bool) -> list[int]:
    """Where a prompt is read, in order."""
    last = len(prompt.clean_ids) - 1
    if all_positions:
        return list(range(last + 1))
    return sorted({last} | ({prompt.subject[1] - 1} if prompt.subject else set()))
