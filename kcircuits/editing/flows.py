"""The nodes through which an edit's effect flows: masked runs of the edited model with one node unedited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from kcircuits.editing.edit import EditedModel
from kcircuits.editing.edited_nodes import downstream, edited_nodes
from kcircuits.engine import Engine, engine_of
from kcircuits.engine.needs import for_circuits, for_readings
from kcircuits.evaluation.prepare import prepared
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


@dataclass(frozen=True)
class Flows:
    """How much of an edit's effect on a metric depends on each node.

    Parameters
    ----------
    before, after
        The metric of the original and of the edited model.
    through
        By node: `after` minus the metric of the edited model in which the node has its original output for
        all readers at all positions. It has all edited nodes and those that read them; other nodes do not
        change. Flows overlap, because an effect flows through several nodes in turn, so they do not add up.
        The flow of an edit's only edited node is the whole effect.
    """

    before: float
    after: float
    through: dict[str, float]

    @property
    def shares(self) -> dict[str, float] | None:
        """`through` as shares of after − before; None if the edit does not change the metric."""
        whole = self.after - self.before
        return {node: flow / whole for node, flow in self.through.items()} if whole else None


def node_flows(edit: EditedModel, task: Task, *, memory: int | str | None = None) -> Flows:
    """Measure exactly how much of an edit's effect on a task flows through each node.

    Parameters
    ----------
    edit
        The edit, of any method.
    task
        The edited fact's prompt, or prompts of neighbours, and the metric, which is averaged over prompts. An
        unedited node has its output of the original model, independent of the task's ablation.
    memory
        Memory budget: bytes, or a size such as "8GiB".

    Raises
    ------
    KCircuitsError
        If a prompt does not fit the model.
    """
    original, edited = prepared(edit.original, task), task.transform_spec(edit.model.spec)
    # A mean over one prompt, position by position, is what its senders give: here those of the original.
    alone = [
        replace(task, prompts=(prompt,), ablation="mean-positional", reference=()) for prompt in task.prompts
    ]
    needs = [[for_readings(original, each.prompts), for_circuits(edited, each)] for each in alone]
    budget = budget_for(memory, [need for both in needs for need in both])
    graph = original.graph
    own = edited_nodes(edit.delta, original)
    nodes = [graph.senders[n] for n in np.flatnonzero(downstream(graph, own))]
    masks = np.repeat(graph.valid[None], len(nodes) + 2, axis=0)
    masks[0, [graph.sender_index(node) for node in own]] = False
    for mask, node in zip(masks[2:], nodes, strict=True):
        mask[graph.sender_index(node)] = False
    values = []
    for each in alone:
        unedited = engine_of(original, replace(each, ablation="zero"), budget).senders()
        values.append(Engine(edited, each, unedited).measure(masks, budget))
    before, after, *without = map(fmean, zip(*values, strict=True))
    return Flows(before, after, {node: after - value for node, value in zip(nodes, without, strict=True)})
