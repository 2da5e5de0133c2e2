"""The residual-stream graph as data: nodes, receivers and edges, their names, and paths through them."""

from kcircuits.graph.graph import Graph
from kcircuits.graph.nodes import LayerShape, Node, Receiver, ReceiverKind, head_of, kind_of, layer_of

__all__ = ["Graph", "LayerShape", "Node", "Receiver", "ReceiverKind", "head_of", "kind_of", "layer_of"]
