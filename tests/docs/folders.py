"""The files that pages take for granted: what is in the folder where a page's blocks run."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kcircuits.graph.identity import graph_of
from kcircuits.model.loading import load_model
from tests.circuits import circuit_of, scores_for
from tests.golden import GOLDEN
from tests.interop.test_eap_ig_pt import pt_of

MODEL = GOLDEN / "llama_gqa"


class Index:
    """As ACDC's TorchIndex prints itself."""

    def __init__(self, *parts: int | None) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return f"[{', '.join(':' if part is None else str(part) for part in self.parts)}]"


_KEY, _END = "blocks.1.hook_k_input", "blocks.2.hook_resid_post"
_HEADS = "blocks.0.attn.hook_result", "blocks.1.attn.hook_result"
_EDGES = [
    ((_KEY, Index(None, None, 3), _HEADS[0], Index(None, None, 2)), 0.25),
    ((_END, Index(None), _HEADS[1], Index(None, None, 3)), torch.tensor(-1.0)),
]


def interop(folder: Path) -> None:
    """A model, and a circuit and scores of it in every format."""
    identity = load_model(MODEL).identity
    (folder / "DIR").symlink_to(MODEL)
    shutil.copy(MODEL / "eap_top150_graph.json", folder / "graph.json")
    torch.save(pt_of("llama_gqa"), folder / "graph.pt")
    (folder / "edges.txt").write_text("a0.h2 -> a1.h1<k> 0.5\n")
    (folder / "circuit.csv").write_text("src,dst,score\na0.h2,m1,0.5\n")
    (folder / "edges.pkl").write_bytes(pickle.dumps(_EDGES))
    circuit = circuit_of(graph_of(identity), "input->a0.h1<k> 0.5", "a0.h3->logits -2", model=identity)
    circuit.save(folder / "circuit.json")
    scores = scores_for(circuit.graph, np.random.default_rng(0), model=identity)
    scores.save(folder / "scores.safetensors")


FOLDERS: dict[str, Callable[[Path], None]] = {"docs/interop.md": interop}
