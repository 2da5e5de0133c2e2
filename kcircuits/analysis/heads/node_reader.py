"""Readings of chosen nodes, prompt by prompt: direct contributions, and attention of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kcircuits.analysis.direct_logit_attribution import Unembedding
from kcircuits.analysis.heads.nodes import read_nodes
from kcircuits.analysis.heads.results import NodeReading
from kcircuits.analysis.prepare import check_finite
from kcircuits.analysis.prompt_texts import text_of
from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.graph import head_of
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec


@dataclass(frozen=True)
class NodeReader:
    """Reads the chosen nodes, one portion of the prompts at a time."""

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
        # All positions in order are the senders themselves: no copy, as they are large.
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
        for of, looks_here in zip(positions, looks, strict=True):
            found: list[NodeReading] = []
            for at in of:
                here = [
                    self._reading(columns, k, place, at, looks_here.get((k, at)))
                    for k in range(len(self.nodes))
                ]
                found += sorted(here, key=lambda reading: -abs(reading.logit))
                place += 1
            of_prompts.append(tuple(found))
        return of_prompts

    def _reading(
        self,
        columns: dict[str, Any],
        k: int,
        place: int,
        position: int,
        attention: tuple[float, ...] | None,
    ) -> NodeReading:
        """The k-th node at a place, from columns [nodes][places]."""
        values = {name: column[k][place] for name, column in columns.items()}
        top = zip(values["ids"], values["logits"], strict=True)
        return NodeReading(
            node=self.spec.graph.senders[int(self.nodes[k])],
            position=position,
            logit=values["logit"],
            share=values["share"],
            rank=values["rank"],
            top=tuple((text_of(self.model, token), logit) for token, logit in top),
            attention=attention,
        )

    def _attention(
        self, engine: Engine, prompts: Sequence[Prompt], positions: Sequence[Sequence[int]]
    ) -> list[dict[tuple[int, int], tuple[float, ...]]]:
        """For each prompt: the attention of the k-th chosen node from a position; heads only."""
        found: list[dict[tuple[int, int], tuple[float, ...]]] = [{} for _ in prompts]
        names = (self.spec.graph.senders[int(node)] for node in self.nodes)
        heads = [(k, *head) for k, name in enumerate(names) if (head := head_of(name))]
        for layer in sorted({layer for _, layer, _ in heads}):
            pattern = engine.attention(layer)[0].cpu()  # [H, N, T, T]
            for k, _, number in (head for head in heads if head[1] == layer):
                for n, of in enumerate(positions):
                    for at in of:
                        row = pattern[number, n, at, : len(prompts[n].clean_ids)]
                        found[n][k, at] = tuple(row.tolist())
        return found


def _positions(prompt: Prompt, all_positions: bool) -> list[int]:
    """The positions at which a prompt is read, in order."""
    last = len(prompt.clean_ids) - 1
    if all_positions:
        return list(range(last + 1))
    return sorted({last} | ({prompt.subject[1] - 1} if prompt.subject else set()))
