"""Outputs of heads and MLPs, attention of heads, and edges into a node (arXiv 2405.17969, figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kcircuits.analysis.direct_logit_attribution import Unembedding, direct_logits
from kcircuits.analysis.heads.node_reader import NodeReader
from kcircuits.analysis.heads.results import HeadReadings
from kcircuits.analysis.prepare import plain_engines
from kcircuits.analysis.prompt_texts import texts_of
from kcircuits.circuit import Circuit, Edge
from kcircuits.engine.needs import for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task

STRONGEST = 20
TOP = 10


def read_heads(
    model: Model,
    task: Task,
    circuit: Circuit | None = None,
    *,
    nodes: Sequence[str] | None = None,
    into: str | None = None,
    strongest: int | None = None,
    top: int = TOP,
    all_positions: bool = False,
    memory: int | str | None = None,
) -> HeadReadings:
    """Read direct logit attribution of nodes and attention of heads in the full model.

    Parameters
    ----------
    model
        From `kcircuits.load_model`.
    task
        Its prompts are read in the model with the task's changes to the graph. Nothing is ablated.
    circuit
        A circuit of the model, whose nodes are read in the full run.
    nodes
        Names of senders to read instead. By default the circuit's nodes or, without a circuit, the
        `STRONGEST`.
    into
        A node of the circuit, or "logits", whose incoming edges are listed.
    strongest
        Read only this number of nodes, by the mean of their absolute direct logits at the last position.
    top
        Number of tokens to list for each node: those that it promotes most.
    all_positions
        Read all positions instead of only the last one and the subject's last one.
    memory
        Bytes, or a size such as "8GiB", for activations.

    Raises
    ------
    KCircuitsError
        If there is no such node, the circuit belongs to another model, or anything else cannot be used.
    """
    check_whole("top", top, least=1)
    spec = prepared(model, task, circuit)
    graph = spec.graph
    if into is not None and circuit is None:
        raise KCircuitsError(f"into {into!r} lists edges of a circuit: give a circuit")
    feeding = () if circuit is None or into is None else edges_into(circuit, into)
    if strongest is not None:
        check_whole("strongest", strongest, least=1)
    elif nodes is None and circuit is None:
        strongest = STRONGEST
    candidates = _candidates(graph, circuit, nodes)
    budget = budget_for(memory, [for_readings(spec, task.prompts)])
    answers = [prompt.answer_id for prompt in task.prompts]
    direct = direct_logits(spec, task.prompts, answers, budget).logit
    order = np.abs(direct).mean(axis=1)[candidates].argsort(kind="stable")[::-1]
    chosen = np.sort(np.array(candidates)[order[:strongest]])
    reader = NodeReader(
        model, spec, Unembedding.from_spec(spec), torch.from_numpy(chosen), min(top, spec.vocab_size)
    )
    readings = [
        reading
        for engine, first in plain_engines(spec, task.prompts, budget)
        for reading in reader.read(
            engine, task.prompts[first : first + engine.num_prompts], all_positions=all_positions
        )
    ]
    settings: dict[str, Any] = {"num_prompts": len(task.prompts), "top": reader.top}
    if into is not None:
        settings["into"] = into
    return HeadReadings(
        model=model.identity,
        settings=settings,
        prompts=texts_of(model, task.prompts),
        graph=graph,
        direct=direct,
        readings=tuple(readings),
        into=feeding,
    )


def edges_into(circuit: Circuit, node: str) -> tuple[Edge, ...]:
    """The edges of a circuit into a node, by falling |score|. Edges into keys and values count for all heads.

    Raises KCircuitsError if the circuit has no such node.
    """
    if node not in circuit.nodes:
        raise KCircuitsError(f"the circuit has no node {node!r}; it has {len(circuit.nodes)}, such as logits")
    edges = [edge for edge in circuit.edges if node in circuit.graph.nodes_of(edge.receiver)]
    return tuple(sorted(edges, key=lambda edge: -abs(edge.score)))


def _candidates(graph: Graph, circuit: Circuit | None, nodes: Sequence[str] | None) -> list[int]:
    """Indices of the senders that can be read, in order."""
    if nodes is None:
        names = graph.senders if circuit is None else [name for name in circuit.nodes if name != "logits"]
    else:
        names = tuple(dict.fromkeys(nodes))
    if not names:
        raise KCircuitsError("there are no nodes to read, because the circuit has no edges: give nodes")
    return sorted(graph.sender_index(name) for name in names)
