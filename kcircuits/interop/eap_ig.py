"""The JSON file of EAP-IG's Graph: read and written.

`{"cfg": {"n_layers":, "n_heads":, "parallel_attn_mlp":, "d_model":}, "nodes": {name: {"in_graph":}}, "edges":
{"a0.h1->m2": {"score":, "in_graph":}}}` with every edge of the graph. Keys and values stand there once per
query head. Where heads share them, reading sums the scores of a group, and the edge is in if any member is;
writing spreads a score evenly over the group.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.documents import is_number, parse_json, read_text, shown
from kcircuits.errors import KCircuitsError
from kcircuits.files import write_atomically
from kcircuits.graph import Graph
from kcircuits.identity import graph_of
from kcircuits.interop.groups import merged, spread, ungrouped
from kcircuits.scores import Scores

METHOD = "eap-ig-file"
_WHAT = "graph of EAP-IG"


def read_eap_ig(path: str | Path, identity: dict[str, Any]) -> tuple[Circuit, Scores]:
    """Read a graph that EAP-IG's `Graph.to_json` wrote.

    Parameters
    ----------
    path
        The file.
    identity
        Of the model that it was made with (`Model.identity`): the file does not say which weights.

    Returns
    -------
    circuit : Circuit
        The edges that are in the graph, with their scores, unmeasured. As the file does not say with what
        method and metric they were found, its method is "eap-ig-file".
    scores : Scores
        The scores of all edges.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, is something else, selects neurons inside nodes, or belongs to a model
        with another graph. The message starts with the path.
    """
    graph = graph_of(identity)
    try:
        document = _checked(parse_json(read_text(path, _WHAT), _WHAT))
        _check_cfg(document["cfg"], graph, identity)
        _check_nodes(document["nodes"])
        matrix, mask = merged(graph, *_edges(document["edges"], ungrouped(graph)))
        scores = Scores(graph, identity, METHOD, {}, matrix)
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error
    return Circuit(graph, identity, METHOD, {}, {}, scores.edges(mask), {}), scores


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
        If the scores belong to another model, the model's width is not known, or the place cannot be written.
    """
    graph, width = circuit.graph, circuit.model.get("width")
    if not isinstance(width, int):
        raise KCircuitsError(f"EAP-IG's file needs the model's 'width', and its identity says {shown(width)}")
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
    edges = _named(ungrouped(graph), *spread(graph, matrix, mask))
    write_atomically(path, json.dumps({"cfg": cfg, "nodes": nodes, "edges": edges}, allow_nan=False))


def _named(graph: Graph, matrix: np.ndarray, mask: np.ndarray) -> dict[str, dict[str, Any]]:
    return {
        f"{graph.senders[s]}->{graph.receivers[r]}": {
            "score": float(matrix[s, r]),
            "in_graph": bool(mask[s, r]),
        }
        for s, r in np.argwhere(graph.valid)
    }


def is_eap_ig(document: object) -> bool:
    """Whether a JSON document has the keys of EAP-IG's file."""
    return isinstance(document, dict) and {"cfg", "nodes", "edges"} <= document.keys()


def _checked(document: object) -> dict[str, Any]:
    if not isinstance(document, dict) or not is_eap_ig(document):
        raise KCircuitsError(
            f"not a {_WHAT}: expected an object with the keys cfg, nodes and edges, got {shown(document)}"
        )
    for key in ("cfg", "nodes", "edges"):
        if not isinstance(document[key], dict):
            raise KCircuitsError(f"{key!r} must be an object, got {shown(document[key])}")
    return document


def _check_cfg(cfg: dict[str, Any], graph: Graph, identity: dict[str, Any]) -> None:
    expected = {
        "n_layers": graph.num_layers,
        "n_heads": graph.num_heads,
        "parallel_attn_mlp": graph.parallel,
    }
    if "width" in identity and "d_model" in cfg:
        expected["d_model"] = identity["width"]
    for key, value in expected.items():
        if cfg.get(key) != value:
            raise KCircuitsError(
                f"made with another model: {key} is {shown(cfg.get(key))}, and {value} in the model given"
            )


def _check_nodes(nodes: dict[str, Any]) -> None:
    """Nodes follow from the edges; but a choice of neurons inside them would be lost."""
    for name, node in nodes.items():
        if isinstance(node, dict) and "neurons" in node:
            raise KCircuitsError(f"it selects neurons inside {shown(name)}; only whole nodes can be read")


def _edges(edges: dict[str, Any], graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Scores and present edges of the ungrouped graph, both [S, R]."""
    matrix = np.zeros(graph.valid.shape)
    mask = np.zeros(graph.valid.shape, dtype=bool)
    for name, edge in edges.items():
        sender, _, receiver = name.partition("->")
        place = graph.sender_index(sender), graph.receiver_index(receiver)
        if not graph.valid[place]:
            raise KCircuitsError(f"no edge {name} in {graph}: the sender is computed after the receiver")
        if not isinstance(edge, dict) or edge.keys() != {"score", "in_graph"}:
            raise KCircuitsError(f"the edge {name} must have the keys score and in_graph, got {shown(edge)}")
        if not is_number(edge["score"]) or not isinstance(edge["in_graph"], bool):
            raise KCircuitsError(f"the edge {name} must have a number and a truth value, got {shown(edge)}")
        matrix[place], mask[place] = edge["score"], edge["in_graph"]
    # Every name is an edge and none is there twice, so a full count means that all are there.
    if len(edges) != graph.num_edges:
        raise KCircuitsError(f"it has {len(edges)} edges, and the model's graph {graph.num_edges}")
    return matrix, mask
