"""The compiled ops: a typed wrapper and a plain PyTorch reference for each."""

from kcircuits.ops.edge_mix import edge_mix, edge_mix_reference

__all__ = ["edge_mix", "edge_mix_reference"]
