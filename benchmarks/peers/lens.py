"""Masked runs of circuits with TransformerLens hooks for sequential ACDC (in the peers' environment).

Hooks record the output of each sender and replace the input of each receiver, with one forward pass per test.
The sum over a receiver's edges is one product with the mask, while usual code adds edge by edge in Python:
this is as fast as hooks allow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights, convert_llama_weights
from transformers import AutoModelForCausalLM

from kcircuits.graph import Graph

CONTEXT = 256
"""Longest prompt for models without position embeddings: TransformerLens keeps masks of its square."""


def load(folder: Path, *, ungroup: bool) -> HookedTransformer:
    """Load a Hugging Face folder with TransformerLens, with unprocessed weights and all hooks that ACDC
    needs.

    With `ungroup`, heads that share a key and a value have separate inputs.
    """
    sizes = json.loads((folder / "config.json").read_text())
    hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    own, convert = {
        "gpt2": (_gpt2_config, convert_gpt2_weights),
        "llama": (_llama_config, convert_llama_weights),
    }[sizes["model_type"]]
    config = HookedTransformerConfig(
        d_vocab=sizes["vocab_size"],
        device="cpu",
        use_attn_result=True,
        use_split_qkv_input=True,
        use_hook_mlp_in=True,
        ungroup_grouped_query_attention=ungroup,
        init_weights=False,
        **own(sizes),
    )
    model = HookedTransformer(config, move_to_device=False)
    weights = convert(hf_model, config)
    weights.setdefault("unembed.b_U", torch.zeros(config.d_vocab))
    missing, unknown = model.load_state_dict(weights, strict=False)
    lost = [name for name in missing if not name.endswith(("mask", "IGNORE", "rotary_sin", "rotary_cos"))]
    if lost or unknown:
        raise RuntimeError(f"weights do not fit: missing {lost}, unknown {list(unknown)}")
    return model.eval().requires_grad_(False)


def _gpt2_config(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "n_ctx": sizes["n_positions"],
        "n_layers": sizes["n_layer"],
        "n_heads": sizes["n_head"],
        "d_model": sizes["n_embd"],
        "d_head": sizes["n_embd"] // sizes["n_head"],
        "d_mlp": 4 * sizes["n_embd"],
        "act_fn": "gelu_new",
        "eps": sizes["layer_norm_epsilon"],
        "normalization_type": "LN",
    }


def _llama_config(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "n_ctx": min(CONTEXT, sizes["max_position_embeddings"]),
        "n_layers": sizes["num_hidden_layers"],
        "n_heads": sizes["num_attention_heads"],
        "n_key_value_heads": sizes["num_key_value_heads"],
        "d_model": sizes["hidden_size"],
        "d_head": sizes["head_dim"],
        "d_mlp": sizes["intermediate_size"],
        "act_fn": "silu",
        "eps": sizes["rms_norm_eps"],
        "normalization_type": "RMS",
        "final_rms": True,
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False,
        "rotary_dim": sizes["head_dim"],
        "rotary_base": sizes["rope_parameters"]["rope_theta"],
    }


def graph_of(model: HookedTransformer) -> Graph:
    """The graph of a model whose keys and values are not ungrouped."""
    config = model.cfg
    return Graph(config.n_layers, config.n_heads, config.n_key_value_heads or config.n_heads)


class MaskedRuns:
    """The metric of circuits, with one hooked forward pass each; S senders, N prompts, T tokens, width D."""

    def __init__(
        self, model: HookedTransformer, clean: Tensor, corrupt: Tensor | None, answers: Tensor
    ) -> None:
        self.model, self.graph, self.clean, self.answers = model, graph_of(model), clean, answers
        shape = (len(self.graph.senders), *clean.shape, model.cfg.d_model)
        self.sent = torch.zeros(shape)  # outputs of senders minus the ablated values
        self.ablated = torch.zeros(shape)
        self.mask = torch.from_numpy(self.graph.valid).float()
        self._add_recorders()
        if corrupt is not None:
            model(corrupt)
            self.ablated = self.sent.clone()
        self._add_readers()

    @torch.inference_mode()
    def nll(self, mask: np.ndarray) -> float:
        """Mean of -log p(answer) at the last position for the circuit with these edges, bool [S, R]."""
        self.mask = torch.from_numpy(mask).float()
        logits = self.model(self.clean)[:, -1]
        chosen = logits.log_softmax(-1)[torch.arange(len(logits)), self.answers]
        return -chosen.double().mean().item()

    def _add_recorders(self) -> None:
        """Hooks on the senders. Senders of a layer are consecutive: its heads, then its MLP."""
        self.model.add_hook("blocks.0.hook_resid_pre", self._recorder(0))
        for layer in range(self.graph.num_layers):
            first = 1 + layer * (self.graph.num_heads + 1)
            heads = slice(first, first + self.graph.num_heads)
            self.model.add_hook(f"blocks.{layer}.attn.hook_result", self._recorder(heads))
            self.model.add_hook(f"blocks.{layer}.hook_mlp_out", self._recorder(heads.stop))

    def _recorder(self, place: int | slice) -> Any:
        def record(activation: Tensor, hook: Any) -> None:
            if isinstance(place, slice):
                activation = activation.permute(2, 0, 1, 3)  # [N, T, H, D] -> [H, N, T, D]
            torch.sub(activation, self.ablated[place], out=self.sent[place])

        return record

    def _add_readers(self) -> None:
        """Hooks on the receivers. Ablated values and biases, which no mask removes, are summed here once."""
        columns = {name: index for index, name in enumerate(self.graph.receivers)}
        biases = torch.zeros(self.model.cfg.d_model)

        def read(hook_name: str, names: list[str], per_head: bool = True) -> None:
            receivers = [columns[name] for name in names]
            count = int(self.graph.num_senders_of[receivers[0]])
            always = self.ablated[:count].sum(0) + biases
            self.model.add_hook(hook_name, self._reader(receivers, count, always, per_head))

        for layer in range(self.graph.num_layers):
            heads = {"q": self.graph.num_heads, "k": self.graph.num_kv_heads, "v": self.graph.num_kv_heads}
            for kind, number in heads.items():
                names = [f"a{layer}.h{head}<{kind}>" for head in range(number)]
                read(f"blocks.{layer}.hook_{kind}_input", names)
            biases = biases + self.model.blocks[layer].attn.b_O
            read(f"blocks.{layer}.hook_mlp_in", [f"m{layer}"], per_head=False)
        read(f"blocks.{self.graph.num_layers - 1}.hook_resid_post", ["logits"], per_head=False)

    def _reader(self, receivers: list[int], count: int, always: Tensor, per_head: bool) -> Any:
        def replace(activation: Tensor, hook: Any) -> Tensor:
            present = self.mask[:count, receivers]
            total = torch.einsum("sr,sntd->ntrd", present, self.sent[:count]) + always[:, :, None]
            return total if per_head else total[:, :, 0]

        return replace
