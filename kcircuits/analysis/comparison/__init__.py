"""Circuits side by side: overlap of nodes and edges."""
