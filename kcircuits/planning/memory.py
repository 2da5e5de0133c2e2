"""Bytes of a model's weights, and of what each method keeps beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kcircuits._native import C
from kcircuits.data.prompts import Prompt
from kcircuits.engine import CHUNK_LIMIT, acdc_chunk
from kcircuits.layouts import circuit_bytes_per_token, host_bytes_per_token, placement_for_circuits
from kcircuits.memory import Layout
from kcircuits.model.devices import tensors_of
from kcircuits.model.quantised import QuantisedWeight
from kcircuits.model.spec import Experts, Mlp, ModelSpec
from kcircuits.portions import engine_bytes_per_token, has_constants, portions, sums_rows


@dataclass(frozen=True)
class Sizes:
    """A model and the prompts that are in memory together: one portion.

    Parameters
    ----------
    spec
        The model.
    kept
        Whether absent edges carry something, whose values are kept.
    tokens, prompts, longest
        Tokens, prompts, and tokens of the longest one.
    layout
        How senders are kept.
    """

    spec: ModelSpec
    kept: bool
    tokens: int
    prompts: int
    longest: int
    layout: Layout = "memory"

    @classmethod
    def of(cls, spec: ModelSpec, kept: bool, portion: Sequence[Prompt], layout: Layout = "memory") -> Sizes:
        """Those of some prompts."""
        lengths = [len(prompt.clean_ids) for prompt in portion]
        return cls(spec, kept, sum(lengths), len(lengths), max(lengths), layout)

    @property
    def engine(self) -> int:
        """What the engine keeps where the model is (`kcircuits.portions`)."""
        return self.tokens * engine_bytes_per_token(self.spec, self.kept, self.layout)

    @property
    def host(self) -> int:
        """What the engine keeps in the CPU's memory, beside a model on another device."""
        return self.tokens * host_bytes_per_token(self.spec) if self.layout == "host" else 0

    @property
    def row(self) -> int:
        """Bytes of one token's stream."""
        return self.spec.width * self.spec.activation_bytes

    @property
    def node(self) -> int:
        """A node's output, and once more at the last tokens."""
        return (self.tokens + self.prompts) * self.row

    @property
    def hidden(self) -> int:
        """Bytes inside the MLP of one token, in the layer where they are most."""
        return max(_hidden(layer.mlp) for layer in self.spec.layers) * self.spec.activation_bytes


def _hidden(block: Mlp | Experts) -> int:
    if isinstance(block, Experts):
        return block.top_k * _hidden(block.experts[0])
    return block.w_up.shape[0]


def weights_bytes(spec: ModelSpec) -> int:
    """Bytes of all weights; a tensor that is used twice, or lies inside another, counts once."""
    spans: dict[int, int] = {}
    for tensor in tensors_of(spec):
        storage = tensor.untyped_storage()
        spans[storage.data_ptr()] = storage.nbytes()
    return sum(spans.values())


LOGIT_BYTES = 64 * 2**20
"""Of logits that the gradient of a metric looks at a time; softmax and products take as much again, twice."""


@dataclass(frozen=True)
class GradientWork:
    """Runs that gradients are taken back through.

    Parameters
    ----------
    at_a_time
        How many of them go together.
    blocks
        How often the senders are brought or computed for these: once for every few layers of receivers.
    bytes
        Of all that is there beside the engine.
    """

    at_a_time: int
    blocks: int
    bytes: int


def gradient_work(sizes: Sizes, runs: int, memory: int, kept_runs: int = 0) -> GradientWork:
    """So many runs, as many as go together, and `kept_runs` that stay; and logits."""
    spec = sizes.spec
    one_run: int = C.plan_runs(spec, "memory", sizes.tokens, sizes.prompts, sizes.longest, 1, 0).bytes
    kept = kept_runs * one_run
    left = max(1, memory - sizes.engine - kept)
    planned = C.plan_runs(spec, sizes.layout, sizes.tokens, sizes.prompts, sizes.longest, runs, left)
    together = planned.at_a_time * one_run
    logits = 3 * min(LOGIT_BYTES, sizes.prompts * spec.vocab_size * spec.activation_bytes)
    # On the CPU products read a weight as it is stored; elsewhere the whole vocabulary is widened for one.
    unembedding, widened = spec.unembedding, 0
    if unembedding.device.type != "cpu" and (
        isinstance(unembedding, QuantisedWeight) or unembedding.element_size() < spec.activation_bytes
    ):
        widened = spec.vocab_size * spec.width * spec.activation_bytes
    # The logits come when the runs are there, and go before their gradients take room.
    most = max(planned.bytes, planned.bytes - together // 4 + logits)
    blocks = -(-len(spec.layers) // planned.layers_together) if planned.layers_together else 1
    return GradientWork(planned.at_a_time, blocks, kept + most + widened)


def measuring_bytes(spec: ModelSpec, kept: bool, prompts: Sequence[Prompt], memory: int) -> int:
    """Masked runs of the circuit that was found, of the full model and of nothing; the engine included."""
    placement = placement_for_circuits(spec, prompts, memory, kept)
    cut = portions(spec, prompts, memory, kept=kept, **vars(placement))
    sizes = max(
        (Sizes.of(spec, kept, portion, placement.layout) for portion in cut), key=lambda sizes: sizes.tokens
    )
    sums = 0
    if placement.layout == "recomputed" and (kept or has_constants(spec)):
        sums = sums_rows(spec) * sizes.tokens * sizes.row
    one = sizes.tokens * circuit_bytes_per_token(spec)
    together = min(3, max(1, (memory - sizes.engine) // one))
    return sizes.engine + sums + together * one


def hypothesis_bytes(sizes: Sizes, layer: int) -> int:
    """One hypothesis that touches a receiver of a layer and reaches every node from there on.

    Nodes of the last layer are read at the last tokens alone.
    """
    graph = sizes.spec.graph
    layers, nodes = graph.num_layers - layer, graph.num_heads + 1
    outputs = nodes * ((layers - 1) * sizes.tokens + layers * sizes.prompts) * sizes.row
    receivers = graph.num_heads + 2 * graph.num_kv_heads
    projected = (receivers + graph.num_heads) * sizes.spec.head_dim * sizes.spec.activation_bytes
    return outputs + max(receivers * sizes.row + projected, 3 * sizes.hidden) * sizes.tokens


def search_workspace(sizes: Sizes, memory: int, kept_nodes: int, receivers: int, limit: int) -> int:
    """Outputs or gradients of so many nodes, and the largest chunk of hypotheses.

    A chunk holds edges of so many receivers, and so many hypotheses, at most.
    """
    kept = kept_nodes * sizes.node
    left = max(1, memory - sizes.engine - kept)
    chunks = []
    for layer in range(sizes.spec.graph.num_layers):
        one = hypothesis_bytes(sizes, layer)
        senders = 1 + layer * (sizes.spec.graph.num_heads + 1)
        chunks.append(one * min(limit, max(1, left // one), receivers * senders))
    return kept + max(chunks)


def acdc_workspace(sizes: Sizes, memory: int) -> int:
    """The present run's outputs, gradients and inputs of all receivers, and a chunk of hypotheses: at most.

    What is still live when a layer's turn comes depends on what was removed before.
    """
    graph = sizes.spec.graph
    receivers = graph.num_heads + 2 * graph.num_kv_heads
    kept = len(graph.senders) + 2 * len(graph.receivers)
    return search_workspace(sizes, memory, kept, receivers, acdc_chunk(sizes.spec, sizes.prompts))


def exact_workspace(sizes: Sizes, memory: int) -> int:
    """The full run's outputs, what no hypothesis changes, and a chunk of hypotheses of one receiver."""
    graph = sizes.spec.graph
    return search_workspace(sizes, memory, len(graph.senders) + len(graph.receivers), 1, CHUNK_LIMIT)


def pruning_workspace(sizes: Sizes, memory: int) -> int:
    """Outputs and their gradients, every receiver's input three times, and the insides of the blocks."""
    graph = sizes.spec.graph
    rows = 2 * len(graph.senders) + 3 * len(graph.receivers)
    insides = len(sizes.spec.layers) * 3 * sizes.hidden
    return sizes.tokens * (rows * sizes.row + insides)


def flow_workspace(sizes: Sizes, memory: int) -> int:
    """The run's outputs once more."""
    return len(sizes.spec.graph.senders) * sizes.node


Workspace = Callable[[Sizes, int], int]
SEARCHES: dict[str, Workspace] = {
    "acdc": acdc_workspace,
    "exact": exact_workspace,
    "edge-pruning": pruning_workspace,
    "ifr": flow_workspace,
}
"""Methods that are not made of runs with gradients."""
