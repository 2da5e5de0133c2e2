"""Through which nodes the effect of an edit flows: masked runs of the edited model with one node unedited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcircuits.data.metrics import Metric
from kcircuits.data.prompts import Prompt
from kcircuits.editing.edit import EditedModel
from kcircuits.editing.edited_nodes import downstream, edited_nodes
from kcircuits.engine import Engine, engine_of
from kcircuits.engine.needs import for_circuits, for_readings
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


@dataclass(frozen=True)
class Flows:
    """What of an edit's effect on a metric goes away when a node does not take part in it.

    Parameters
    ----------
    before, after
        The metric of the original model and of the edited one.
    through
        By node: `after` − the metric of the edited model in which the node gives every reader, at every
        position, what it gives in the original. All edited nodes and those that read them; the others give
        the same in both. Flows overlap, as what goes through one node goes on through later ones, so they
        do not add up; that of an edit's only edited node is the whole.
    """

    before: float
    after: float
    through: dict[str, float]

    @property
    def shares(self) -> dict[str, float] | None:
        """`through` as shares of after − before; None where the edit does not change the metric."""
        whole = self.after - self.before
        return {node: flow / whole for node, flow in self.through.items()} if whole else None


def node_flows(
    edit: EditedModel, prompt: Prompt, metric: Metric = "nll", *, memory: int | str | None = None
) -> Flows:
    """Measure, exactly, what of an edit's effect on a prompt flows through each node.

    Parameters
    ----------
    edit
        The edit, of any method.
    prompt
        The edited fact's, or a neighbour's: what it answers is what the metric is of.
    metric
        "nll" or "logit-diff" (`kcircuits.data.metrics`); lower is better.
    memory
        Bytes, or a size such as "8GiB", for runs that are made together.

    Raises
    ------
    KCircuitsError
        If the prompt does not fit the model, or lacks a wrong answer that the metric needs.
    """
    original, edited = edit.original.spec, edit.model.spec
    task = Task((prompt,), "mean-positional", metric)
    budget = budget_for(memory, [for_readings(original, (prompt,)), for_circuits(edited, task)])
    graph = original.graph
    own = edited_nodes(edit.delta, original)
    nodes = [graph.senders[n] for n in np.flatnonzero(downstream(graph, own))]
    # A mean over one prompt, position by position, is what its senders give: here those of the original.
    unedited = engine_of(original, Task((prompt,), "zero"), budget).senders()
    engine = Engine(edited, task, unedited)
    masks = np.repeat(graph.valid[None], len(nodes) + 2, axis=0)
    masks[0, [graph.sender_index(node) for node in own]] = False
    for mask, node in zip(masks[2:], nodes, strict=True):
        mask[graph.sender_index(node)] = False
    before, after, *without = engine.measure(masks, budget)
    return Flows(before, after, {node: after - value for node, value in zip(nodes, without, strict=True)})
