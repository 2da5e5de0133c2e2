"""Comparison of circuits: overlap of nodes and edges."""
