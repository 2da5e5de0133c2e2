"""Worker process for auto-circuit's ACDC and mask gradients (in the peers' environment).

Its graph has a key and a value per query head: scores of heads that share one are summed for comparison.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.prune_algos.ACDC import acdc_prune_scores
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.types import AblationType
from auto_circuit.utils.graph_utils import patchable_model
from peers.lens import load
from peers.protocol import serve

from kcircuits.graph import Graph
from kcircuits.interop.edge_names import translate_receiver
from kcircuits.interop.groups import merge_groups, ungroup

model: Any
loader: PromptDataLoader
graph: Graph


def setup(folder: str, prompts: dict[str, Any], threads: int) -> dict[str, Any]:
    """Load the model, make it patchable, and put all prompts into one batch."""
    global model, loader, graph
    torch.set_num_threads(threads)
    hooked = load(Path(folder), ungroup=True)
    config = hooked.cfg
    graph = Graph(config.n_layers, config.n_heads, config.n_key_value_heads or config.n_heads)
    model = patchable_model(hooked, factorized=True, slice_output="last_seq", separate_qkv=True)
    clean, corrupt = torch.tensor(prompts["clean"]), torch.tensor(prompts["corrupt"])
    answers, wrong = ([torch.tensor([token]) for token in prompts[name]] for name in ("answers", "wrong"))
    dataset = PromptDataset(clean, corrupt, answers, wrong)
    loader = PromptDataLoader(dataset, seq_len=None, diverge_idx=0, batch_size=len(clean))
    return {"version": version("auto-circuit"), "edges": len(model.edges)}


def acdc(threshold: float, sample: int | None = None) -> dict[str, Any]:
    """ACDC at one threshold, or a part of it with a number of tests spread over all layers.

    Its metric is the KL divergence from the full model at the last position; absent edges are corrupt.
    """
    everything = model.edges
    try:
        if sample is not None:
            ordered = sorted(everything, key=lambda edge: (edge.dest.layer, edge.name))
            places = np.linspace(0, len(ordered) - 1, sample).astype(int)
            model.edges = {ordered[place] for place in places}
        tested = len(model.edges)
        base, exponent = _as_product(threshold)
        start = perf_counter()
        scores = acdc_prune_scores(model, loader, None, tao_exps=[exponent], tao_bases=[base])
        seconds = perf_counter() - start
    finally:
        model.edges = everything
    kept = int(sum(torch.isinf(values).sum().item() for values in scores.values()))
    return {"seconds": seconds, "tests": tested, "kept": kept}


def eap() -> dict[str, float]:
    """Edge attribution patching, as the gradient of the mask."""
    return {"seconds": _gradients(mask_val=0.0)[0]}


def integrated(steps: int) -> dict[str, float]:
    """The mask's gradients, averaged between the full and the empty circuit: steps + 1 passes."""
    return {"seconds": _gradients(integrated_grad_samples=steps)[0]}


def eap_scores() -> list[float]:
    """EAP's scores of the edges of the model's own graph, in its order."""
    _, found = _gradients(mask_val=0.0)
    wide = ungroup(graph)
    matrix = np.zeros(wide.valid.shape)
    for node in model.dests:
        rows = found[node.module_name]
        values = rows if node.head_idx is None else rows[node.head_idx]
        matrix[: len(values), wide.receiver_index(translate_receiver(node.name, graph.num_layers))] = values
    scores, _ = merge_groups(graph, matrix, wide.valid)
    values = scores[graph.valid]
    return [float(value) for value in values]


def _gradients(**how: Any) -> tuple[float, Any]:
    start = perf_counter()
    scores = mask_gradient_prune_scores(
        model,
        loader,
        None,
        grad_function="logit",
        answer_function="avg_diff",
        ablation_type=AblationType.RESAMPLE,
        clean_corrupt="corrupt",
        **how,
    )
    return perf_counter() - start, scores


def _as_product(threshold: float) -> tuple[int, int]:
    """A threshold as base * 10**exponent, the library's form of it."""
    digits, _, exponent = f"{threshold:.0e}".partition("e")
    return int(digits), int(exponent)


if __name__ == "__main__":
    serve({"setup": setup, "acdc": acdc, "eap": eap, "integrated": integrated, "eap_scores": eap_scores})
