"""EAP-IG's files of a Graph: JSON and PyTorch are read, JSON is written.

`kcircuits.interop.eap_ig_files` says what is in them. Keys and values stand there once per query head. Where
heads share them, reading sums the scores of a group, and the edge is in if any member is; writing spreads a
score evenly over the group.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit, Edge
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.files.writing import write_atomically
from kcircuits.graph import Graph, LayerShape
from kcircuits.graph.identity import graph_of
from kcircuits.interop.eap_ig_files import WHAT, Content, read_json, read_pt
from kcircuits.interop.groups import merge_groups, spread_groups, ungroup
from kcircuits.interop.torch_file import is_saved_by_torch
from kcircuits.scores import Scores

METHOD = "eap-ig-file"


def read_eap_ig(path: str | Path, identity: dict[str, Any]) -> tuple[Circuit, Scores | None]:
    """Read a graph that EAP-IG's `Graph.to_json` or `Graph.to_pt` wrote.

    Parameters
    ----------
    path
        The file; which of the two it is, its content says.
    identity
        Of the model that it was made with (`Model.identity`): the file does not say which weights.

    Returns
    -------
    circuit : Circuit
        The edges that are in the graph, with their scores, unmeasured. As the file does not say with what
        method and metric they were found, its method is "eap-ig-file". In a graph without scores each edge
        has the score 1 and `settings` says `{"scored": false}`; where only some edges of the circuit lack a
        score, theirs is 0 and `settings` says how many: `{"unscored_edges": 3}`.
    scores : Scores or None
        The scores of all edges, 0 for those without; None where no edge has one.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, is something else, selects some of a node's neurons, or belongs to a model
        with another graph, or layers of the model differ in their query heads or MLPs. The message starts
        with the path. Nothing in a PyTorch file is run: one that holds more than tensors and plain data is
        refused.
    """
    graph = graph_of(identity)
    width = identity.get("width")
    try:
        _check_regular(graph)
        read = read_pt if is_saved_by_torch(path, WHAT) else read_json
        return _circuit(graph, identity, read(path, ungroup(graph), width))
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error


def _circuit(graph: Graph, identity: dict[str, Any], content: Content) -> tuple[Circuit, Scores | None]:
    valid = ungroup(graph).valid
    known = valid & ~np.isnan(content.scores)
    matrix, mask = merge_groups(graph, np.where(known, content.scores, 0), content.mask)
    if not known.any():
        edges = tuple(Edge(graph.senders[s], graph.receivers[r], 1.0) for s, r in np.argwhere(mask))
        return Circuit(graph, identity, METHOD, {"scored": False}, {}, edges, {}), None
    scores = Scores(graph, identity, METHOD, {}, matrix)
    _, has_score = merge_groups(graph, content.scores, known)
    unscored = int((mask & ~has_score).sum())
    settings = {"unscored_edges": unscored} if unscored else {}
    return Circuit(graph, identity, METHOD, settings, {}, scores.edges(mask), {}), scores


def write_eap_ig(circuit: Circuit, path: str | Path, scores: Scores | None = None) -> None:
    """Write a circuit as EAP-IG's `Graph.from_json` reads it, atomically.

    Parameters
    ----------
    circuit
        What is in the graph; the scores of its edges go into the file.
    path
        Where to write.
    scores
        The scores of all other edges; 0 where none are given.

    Raises
    ------
    KCircuitsError
        If layers of the model differ in their query heads or MLPs, the scores belong to another model, the
        model's width is not known, or the place cannot be written.
    """
    graph, width = circuit.graph, circuit.model.get("width")
    _check_regular(graph)
    if not isinstance(width, int):
        raise KCircuitsError(f"EAP-IG's file needs the model's 'width', and its identity says {quote(width)}")
    matrix = np.zeros(graph.valid.shape)
    if scores is not None:
        scores.check_model(circuit.model)
        matrix[:] = scores.matrix
    mask = circuit.mask()
    matrix[mask] = [edge.score for edge in circuit.edges]  # in the order of the mask
    touched = set(circuit.nodes)
    nodes = {name: {"in_graph": name in touched} for name in (*graph.senders, "logits")}
    cfg = {
        "n_layers": graph.num_layers,
        "n_heads": graph.num_heads,
        "parallel_attn_mlp": graph.parallel,
        "d_model": width,
    }
    edges = _name_edges(ungroup(graph), *spread_groups(graph, matrix, mask))
    write_atomically(path, json.dumps({"cfg": cfg, "nodes": nodes, "edges": edges}, allow_nan=False))


def _check_regular(graph: Graph) -> None:
    for layer, shape in enumerate(ungroup(graph).layers):
        if shape != LayerShape(graph.num_heads, graph.num_heads):
            raise KCircuitsError(
                f"EAP-IG's graph has {graph.num_heads} heads and an MLP in every layer, and layer {layer} of "
                f"the model has {shape.num_heads} heads and {'an' if shape.has_mlp else 'no'} MLP: use a "
                "circuit.json, GraphML, CSV or a list of edges"
            )


def _name_edges(graph: Graph, matrix: np.ndarray, mask: np.ndarray) -> dict[str, dict[str, Any]]:
    return {
        f"{graph.senders[s]}->{graph.receivers[r]}": {
            "score": float(matrix[s, r]),
            "in_graph": bool(mask[s, r]),
        }
        for s, r in np.argwhere(graph.valid)
    }
