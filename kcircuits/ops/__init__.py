"""The compiled ops, each with a typed wrapper and a plain PyTorch reference."""

from kcircuits.ops.edge_mix import edge_mix, edge_mix_reference
from kcircuits.ops.edge_scores import add_edge_scores, edge_scores, edge_scores_reference
from kcircuits.ops.vocab_readout import VocabReadout, vocab_readout, vocab_readout_reference

__all__ = [
    "VocabReadout",
    "add_edge_scores",
    "edge_mix",
    "edge_mix_reference",
    "edge_scores",
    "edge_scores_reference",
    "vocab_readout",
    "vocab_readout_reference",
]
