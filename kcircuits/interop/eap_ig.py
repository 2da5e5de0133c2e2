"""Read the JSON and PyTorch files of EAP-IG's Graph, and write its JSON file.

`kcircuits.interop.eap_ig_files` describes the formats. They have one key and one value per query head. If
heads share them in the model, reading sums the scores of a group, and an edge is present if any member is;
writing divides a score evenly among the group.
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
        The file; its content tells which of the two formats it has.
    identity
        Identity of the model that it was made with (`Model.identity`), because the file does not name it.

    Returns
    -------
    circuit : Circuit
        The present edges with their scores, without a metric. The file does not name the method and metric
        that found them, so the method is "eap-ig-file". If the file has no scores, each edge gets the score 1
        and `settings` is `{"scored": false}`. If only some edges of the circuit lack a score, they get 0 and
        `settings` has their number: `{"unscored_edges": 3}`.
    scores : Scores or None
        The scores of all edges, 0 for those without a score; None if no edge has one.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, has another format, selects single neurons of a node, or belongs to a
        model with another graph, or if layers of the model differ in their query heads or MLPs. The message
        starts with the path. No code in a PyTorch file is run: a file with anything except tensors and plain
        data is refused.
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
        The present edges, with their scores.
    path
        Where to write.
    scores
        The scores of all other edges; without them, these are 0.

    Raises
    ------
    KCircuitsError
        If layers of the model differ in their query heads or MLPs, the scores belong to another model, the
        model's width is not known, or the file cannot be written.
    """
    graph, width = circuit.graph, circuit.model.get("width")
    _check_regular(graph)
    if not isinstance(width, int):
        raise KCircuitsError(f"EAP-IG's file needs the model's 'width', but its identity has {quote(width)}")
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
                f"EAP-IG's graph has {graph.num_heads} heads and an MLP in every layer, but layer {layer} of "
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
