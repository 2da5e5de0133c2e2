"""The model identity stored with circuits and scores: its graph, its weights' hash, and its name."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.graph import Graph, LayerShape

# Far more than any model has (Llama 3.1 405B: 16,255), but still few enough to create all names quickly.
_MAX_NODES = 200_000
# A mask takes a byte per pair of a sender and a receiver (Llama 3.1 405B, ungrouped: 0.8 billion).
_MAX_PAIRS = 2**30


def graph_of(identity: dict[str, Any]) -> Graph:
    """The graph of the model that an identity describes.

    Reads `num_layers`, `num_heads`, `num_kv_heads` and the optional keys `parallel` (default False) and
    `layer_shapes`, which `graph_fields` writes if layers differ. Raises KCircuitsError if a key is missing or
    invalid.
    """
    parallel = identity.get("parallel", False)
    if type(parallel) is not bool:
        raise KCircuitsError(f"the model's 'parallel' must be true or false, got {quote(parallel)}")
    graph = Graph(
        num_layers=_size(identity, "num_layers"),
        num_heads=_size(identity, "num_heads"),
        num_kv_heads=_size(identity, "num_kv_heads"),
        parallel=parallel,
        shapes=_shapes(identity),
    )
    if graph.is_regular and graph.num_heads % graph.num_kv_heads:
        raise KCircuitsError(f"num_heads must be a multiple of num_kv_heads, got {graph}")
    nodes = sum(shape.num_nodes for shape in graph.layers)
    if nodes > _MAX_NODES:
        raise KCircuitsError(f"more than {_MAX_NODES:,} nodes, which no model has: {graph}")
    receivers = 1 + sum(shape.num_receivers for shape in graph.layers)
    if (nodes + 1) * receivers > _MAX_PAIRS:
        raise KCircuitsError(f"more edges than any model has: {graph}")
    return graph


def graph_fields(graph: Graph) -> dict[str, Any]:
    """The keys of an identity that describe a graph; `graph_of` reads them.

    Examples
    --------
    >>> graph_fields(Graph.of_layers([LayerShape(2, 1), LayerShape(2, 1, has_mlp=False)]))["layer_shapes"]
    [{'num_heads': 2, 'num_kv_heads': 1, 'mlp': True}, {'num_heads': 2, 'num_kv_heads': 1, 'mlp': False}]
    """
    fields: dict[str, Any] = {
        "num_layers": graph.num_layers,
        "num_heads": graph.num_heads,
        "num_kv_heads": graph.num_kv_heads,
        "parallel": graph.parallel,
    }
    if not graph.is_regular:
        fields["layer_shapes"] = [
            {"num_heads": shape.num_heads, "num_kv_heads": shape.num_kv_heads, "mlp": shape.has_mlp}
            for shape in graph.layers
        ]
    return fields


def _shapes(identity: dict[str, Any]) -> tuple[LayerShape, ...]:
    listed = identity.get("layer_shapes", [])
    if not isinstance(listed, list) or len(listed) > _MAX_NODES:
        raise KCircuitsError(f"the model's 'layer_shapes' must be a list of layers, got {quote(listed)}")
    return tuple(map(_shape, listed))


def _shape(layer: object) -> LayerShape:
    if not isinstance(layer, dict) or layer.keys() != {"num_heads", "num_kv_heads", "mlp"}:
        raise KCircuitsError(
            f"a layer of 'layer_shapes' has the keys num_heads, num_kv_heads and mlp, got {quote(layer)}"
        )
    counts = layer["num_heads"], layer["num_kv_heads"]
    if any(type(count) is not int or not 0 <= count <= _MAX_NODES for count in counts):
        raise KCircuitsError(f"heads in 'layer_shapes' must be whole numbers from 0 on, got {quote(layer)}")
    if type(layer["mlp"]) is not bool:
        raise KCircuitsError(f"'mlp' in 'layer_shapes' must be true or false, got {quote(layer['mlp'])}")
    return LayerShape(*counts, layer["mlp"])


def _size(identity: dict[str, Any], key: str) -> int:
    value = identity.get(key)
    if type(value) is not int or not 1 <= value <= _MAX_NODES:
        raise KCircuitsError(f"the model's {key!r} must be a whole number from 1 on, got {quote(value)}")
    return value


def check_same_weights(subject: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Check that a circuit or scores are used with the model that they were found in.

    Parameters
    ----------
    subject
        Beginning of the message: "the circuit was", "the scores were".
    ours, theirs
        Identity of the model that it was found in, and of the one that it is used with.

    Raises
    ------
    KCircuitsError
        If the hashes of the weights differ or one is missing, or if both identities have a hash of the
        configuration and these differ.
    """
    if _same_hash(ours, theirs) and not same_weights(ours, theirs):
        raise KCircuitsError(
            f"{subject} found in the model {model_label(ours)} with another configuration than this one has: "
            "a rotation, a scale, a norm or a window differs"
        )
    if not same_weights(ours, theirs):
        raise KCircuitsError(
            f"{subject} found in the model {model_label(ours)}, and this is {model_label(theirs)}: "
            "use the model that it was found in"
        )


def same_weights(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether two identities have the same hash of the weights; False if one has none.

    If both have a hash of the configuration, which older files lack, these must agree too.
    """
    known = [one["configuration"] for one in (ours, theirs) if one.get("configuration") is not None]
    return _same_hash(ours, theirs) and len(set(known)) <= 1


def _same_hash(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    weights = ours.get("weights_hash")
    return weights is not None and bool(weights == theirs.get("weights_hash"))


def model_label(identity: dict[str, Any]) -> str:
    """A model's name and the start of its weights' hash, for error messages."""
    weights = str(identity.get("weights_hash", "unknown"))[:12]
    return f"{quote(identity.get('name', 'without a name'))} (weights {weights})"
