"""The two file formats of EAP-IG's Graph, which has one key and one value per query head.

JSON (`Graph.to_json`): `{"cfg": {"n_layers":, "n_heads":, "parallel_attn_mlp":, "d_model":}, "nodes": {name:
{"in_graph":, "score":?, "neurons":?}}, "edges": {"a0.h1->m2": {"score":, "in_graph":}}}`, every edge of the
graph. A score that was not computed is null or NaN.

PyTorch (`Graph.to_pt`): a dict of `cfg`, `src_nodes` and `dst_nodes` (names), and the tensors `edges_scores`
and `edges_in_graph` [senders, receivers]; sometimes `neurons_in_graph` [senders, d_model]. Entries
of the tensors without an edge have no meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.circuit.circuit_json import max_bytes
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_number, quote, read_text
from kcircuits.files.json_cursor import JsonCursor
from kcircuits.graph import Graph
from kcircuits.interop.torch_file import load_plain

if TYPE_CHECKING:
    from torch import Tensor

WHAT = "graph of EAP-IG"
JSON_KEYS = ("cfg", "nodes", "edges")
PT_KEYS = ("cfg", "src_nodes", "dst_nodes", "edges_scores", "edges_in_graph")


@dataclass(frozen=True)
class Content:
    """Content of a file: scores, float64, NaN if missing; present edges, bool; both [S, R]."""

    cfg: dict[str, Any]
    scores: np.ndarray
    mask: np.ndarray


def is_eap_ig_pt(document: object) -> bool:
    """Whether the content of a `torch.save` file has the keys of EAP-IG's format."""
    return isinstance(document, dict) and set(PT_KEYS) <= document.keys()


def read_json(path: str | Path, graph: Graph, width: int | None) -> Content:
    """Read the JSON file; `graph` has a key and value per query head.

    Raises KCircuitsError if it has another format, selects single neurons of a node, or has other edges than
    the graph.
    """
    cursor = JsonCursor(read_text(path, WHAT, max_bytes(graph.num_edges)), WHAT, nan=True)
    if cursor.next_character() != "{":
        raise KCircuitsError(f"{_expected(JSON_KEYS)}, got {quote(cursor.value())}")
    cfg: dict[str, Any] | None = None
    found: tuple[np.ndarray, np.ndarray] | None = None
    seen = set()
    for key in cursor.members():
        seen.add(key)
        if key in JSON_KEYS and cursor.next_character() != "{":
            raise KCircuitsError(f"not a {WHAT}: {key!r} must be an object, got {quote(cursor.value())}")
        if key == "cfg":
            cfg = _object(cursor.value())
        elif key == "nodes":
            for name, node in _object(cursor.value()).items():
                if isinstance(node, dict) and "neurons" in node:
                    _check_neurons(name, node["neurons"], node.get("in_graph", True))
        elif key == "edges":
            if cfg is not None:  # first: a different configuration explains more than different edges
                check_cfg(cfg, graph, width)
            found = _edges(cursor, graph)
        else:
            cursor.skip()
    cursor.end()
    if cfg is None or found is None or "nodes" not in seen:
        raise KCircuitsError(f"{_expected(JSON_KEYS)}, got {quote(sorted(seen))}")
    check_cfg(cfg, graph, width)
    return Content(cfg, *found)


def read_pt(path: str | Path, graph: Graph, width: int | None) -> Content:
    """Read the PyTorch file; `graph` has a key and value per query head.

    Raises KCircuitsError if it has another format, holds anything except tensors and plain data, selects
    single neurons of a node, or has another graph.
    """
    document = load_plain(path, WHAT)
    if not isinstance(document, dict) or not is_eap_ig_pt(document):
        keys = sorted(map(str, document)) if isinstance(document, dict) else document
        raise KCircuitsError(f"{_expected(PT_KEYS)}, got {quote(keys)}")
    cfg = _object(document["cfg"])
    check_cfg(cfg, graph, width)
    for key, names in (("src_nodes", graph.senders), ("dst_nodes", graph.receivers)):
        if not isinstance(document[key], list | tuple) or tuple(document[key]) != names:
            raise KCircuitsError(f"{key!r} are not the names of the model's graph: {quote(document[key])}")
    shape = graph.valid.shape
    scores = _numbers(document["edges_scores"], "edges_scores", shape)
    mask = _numbers(document["edges_in_graph"], "edges_in_graph", shape) != 0
    mask &= graph.valid  # the file marks a selected node as sending to every receiver
    if document.get("neurons_in_graph") is not None:
        # Only nodes with an outgoing edge matter.
        neurons = _numbers(document["neurons_in_graph"], "neurons_in_graph", (shape[0], None)) != 0
        for index in np.flatnonzero(mask.any(axis=1)):
            _check_neurons(graph.senders[index], neurons[index].tolist(), True)
    return Content(cfg, scores, mask)


def check_cfg(cfg: dict[str, Any], graph: Graph, width: int | None) -> None:
    """Check that the configuration in a file is that of the model; widths are compared if both have one."""
    expected = {
        "n_layers": graph.num_layers,
        "n_heads": graph.num_heads,
        "parallel_attn_mlp": graph.parallel,
    }
    if width is not None and "d_model" in cfg:
        expected["d_model"] = width
    for key, value in expected.items():
        if cfg.get(key) != value:
            raise KCircuitsError(
                f"made with another model: {key} is {quote(cfg.get(key))}, but {value} in the given model"
            )


def _expected(keys: tuple[str, ...]) -> str:
    return f"not a {WHAT}: expected an object with the keys {', '.join(keys[:-1])} and {keys[-1]}"


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KCircuitsError(f"'cfg' must be an object, got {quote(value)}")
    return value


def _check_neurons(name: str, neurons: object, in_graph: object) -> None:
    """Refuse a selection of neurons inside nodes, which would be lost."""
    chosen = neurons if isinstance(neurons, list) and neurons else [None]
    if not all(chosen) and (in_graph or any(chosen)):
        raise KCircuitsError(f"the file selects neurons inside {quote(name)}; only whole nodes can be read")


def _edges(cursor: JsonCursor, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Scores and present edges from the JSON object of all edges."""
    matrix = np.zeros(graph.valid.shape)
    mask, seen = (np.zeros(graph.valid.shape, dtype=bool) for _ in range(2))
    for name in cursor.members(unique=False):
        edge = cursor.value()
        sender, _, receiver = name.partition("->")
        place = graph.sender_index(sender), graph.receiver_index(receiver)
        if not graph.valid[place]:
            raise KCircuitsError(f"no edge {name} in {graph}: the sender is computed after the receiver")
        if seen[place]:
            raise KCircuitsError(f"the edge {name} occurs twice: keep one")
        if not isinstance(edge, dict) or edge.keys() != {"score", "in_graph"}:
            raise KCircuitsError(f"the edge {name} must have the keys score and in_graph, got {quote(edge)}")
        score = float("nan") if edge["score"] is None else edge["score"]
        is_score = is_number(score) or (isinstance(score, float) and math.isnan(score))
        if not is_score or not isinstance(edge["in_graph"], bool):
            raise KCircuitsError(
                f"the edge {name} must have a number (or null) as score and true or false as in_graph, "
                f"got {quote(edge)}"
            )
        matrix[place], mask[place], seen[place] = score, edge["in_graph"], True
    if not seen[graph.valid].all():
        raise KCircuitsError(f"the file has {int(seen.sum())} edges, but the graph has {graph.num_edges}")
    return matrix, mask


def _numbers(value: Tensor | object, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Convert a tensor of numbers or bools with this shape (None: any size) to float64."""
    import torch

    if (
        not isinstance(value, torch.Tensor)
        or value.layout != torch.strided
        or value.is_quantized
        or value.is_complex()
        or value.device.type != "cpu"
        or value.dim() != len(shape)
        or any(size is not None and size != got for size, got in zip(shape, value.shape, strict=True))
        or value.numel() > value.untyped_storage().nbytes()
    ):
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else quote(value)
        sizes = ["d_model" if size is None else size for size in shape]
        raise KCircuitsError(f"{key!r} must be a tensor of numbers {sizes}, got {got}")
    numbers: np.ndarray = value.detach().to(torch.float64).numpy()
    return numbers
