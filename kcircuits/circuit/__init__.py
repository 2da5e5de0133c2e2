"""Circuits: their edges and nodes, operations on them, their file and their picture."""

from kcircuits.circuit.circuit import Circuit, Edge, edge_jaccard, node_jaccard

__all__ = ["Circuit", "Edge", "edge_jaccard", "node_jaccard"]
