"""The least memory of every phase of a command: that of its smallest step, one prompt or one hypothesis.

One rule holds for all (`kcircuits.runtime.memory.budget_for`): a smaller budget is refused before any work;
with a larger one, the work is split until it fits. The weights are not included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kcircuits.data.prompts import Prompt
from kcircuits.engine.layouts import (
    IN_MEMORY,
    Placement,
    circuit_bytes_per_token,
    host_bytes_per_token,
    mask_bytes_per_token,
    recomputed_bytes_per_token,
    run_bytes_per_token,
)
from kcircuits.engine.portions import engine_bytes_per_token, means_bytes
from kcircuits.model.spec import Experts, Mlp, ModelSpec
from kcircuits.runtime.memory import Layout, Need
from kcircuits.task import Task


class Costs(Protocol):
    """The costs of a method; `kcircuits.discovery.Method` defines each property."""

    @property
    def name(self) -> str:
        """Name of the method."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Options of the method."""
        ...

    @property
    def takes_all_prompts(self) -> bool:
        """Whether it needs all prompts in memory together."""
        ...

    @property
    def has_gradients(self) -> bool:
        """Whether it consists of runs with gradients."""
        ...

    @property
    def keeps_a_run(self) -> bool:
        """Whether it stores the plain run in addition to the current one."""
        ...

    @property
    def reads_ablated(self) -> bool:
        """Whether it reads the values of absent edges."""
        ...

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """Bytes in addition to the engine, for a method without gradients."""
        ...


@dataclass(frozen=True)
class Sizes:
    """A model and one portion of prompts, which are in memory together.

    Parameters
    ----------
    spec
        The model.
    kept
        Whether absent edges carry values that are stored (any ablation except zero).
    tokens, prompts, longest
        Numbers of tokens and of prompts, and the tokens of the longest prompt.
    layout
        Where sender outputs are stored.
    """

    spec: ModelSpec
    kept: bool
    tokens: int
    prompts: int
    longest: int
    layout: Layout = "memory"

    @classmethod
    def of(cls, spec: ModelSpec, kept: bool, portion: Sequence[Prompt], layout: Layout = "memory") -> Sizes:
        """The sizes for a portion of prompts."""
        lengths = [len(prompt.clean_ids) for prompt in portion]
        return cls(spec, kept, sum(lengths), len(lengths), max(lengths), layout)

    @property
    def engine(self) -> int:
        """Bytes that the engine stores on the model's device (`kcircuits.engine.portions`)."""
        return self.tokens * engine_bytes_per_token(self.spec, self.kept, self.layout)

    @property
    def host(self) -> int:
        """Bytes that the engine stores in CPU memory for a model on another device."""
        return self.tokens * host_bytes_per_token(self.spec) if self.layout == "host" else 0

    @property
    def row(self) -> int:
        """Bytes of the residual stream of one token."""
        return self.spec.width * self.spec.activation_bytes

    @property
    def node(self) -> int:
        """Bytes of a node's output at all tokens and a second copy at the last tokens."""
        return (self.tokens + self.prompts) * self.row

    @property
    def hidden(self) -> int:
        """Bytes inside the MLP per token, in the layer with the largest MLP."""
        return max(_hidden(layer.mlp) for layer in self.spec.layers) * self.spec.activation_bytes

    @property
    def pattern(self) -> int:
        """Bytes of the attention patterns of all heads of a layer."""
        return self.spec.num_heads * self.prompts * self.longest**2 * self.spec.activation_bytes


def _hidden(block: Mlp | Experts) -> int:
    if isinstance(block, Experts):
        return block.top_k * _hidden(block.experts[0])
    return block.w_up.shape[0]


def hypothesis_bytes(sizes: Sizes, layer: int) -> int:
    """Bytes of a hypothesis that changes a receiver of a layer and reaches all later nodes.

    Nodes of the last layer are read only at the last tokens.
    """
    graph = sizes.spec.graph
    layers, shape = graph.num_layers - layer, graph.largest
    outputs = shape.num_nodes * ((layers - 1) * sizes.tokens + layers * sizes.prompts) * sizes.row
    receivers = shape.num_attention_receivers
    projected = (receivers + shape.num_heads) * sizes.spec.head_dim * sizes.spec.activation_bytes
    return outputs + max(receivers * sizes.row + projected, 3 * sizes.hidden) * sizes.tokens


def search_workspace(sizes: Sizes, memory: int, kept_nodes: int, receivers: int, limit: int) -> int:
    """Bytes of the outputs or gradients of `kept_nodes` nodes, and of the largest chunk of hypotheses.

    A chunk has edges of at most `receivers` receivers, and at most `limit` hypotheses.
    """
    kept = kept_nodes * sizes.node
    left = max(1, memory - sizes.engine - kept)
    chunks = []
    for layer in range(sizes.spec.graph.num_layers):
        one = hypothesis_bytes(sizes, layer)
        senders = sizes.spec.graph.senders_before(layer)
        chunks.append(one * min(limit, max(1, left // one), receivers * senders))
    return kept + max(chunks)


def acdc_workspace(sizes: Sizes, memory: int, limit: int) -> int:
    """Upper bound: outputs, gradients and receiver inputs of the present run, and a chunk of hypotheses.

    How much of it is used at a layer depends on the edges that were removed before.
    """
    graph = sizes.spec.graph
    receivers = graph.largest.num_attention_receivers
    kept = len(graph.senders) + 2 * len(graph.receivers)
    workspace = search_workspace(sizes, memory, kept, receivers, limit)
    return workspace + 3 * sizes.pattern


def exact_workspace(sizes: Sizes, memory: int, limit: int) -> int:
    """The outputs of the full run, the unchanged inputs, and a chunk of hypotheses of one receiver."""
    graph = sizes.spec.graph
    return search_workspace(sizes, memory, len(graph.senders) + len(graph.receivers), 1, limit)


def pruning_workspace(sizes: Sizes) -> int:
    """Outputs and their gradients, three times the input of every receiver, and the insides of blocks."""
    graph = sizes.spec.graph
    rows = 2 * len(graph.senders) + 3 * len(graph.receivers)
    insides = len(sizes.spec.layers) * 3 * sizes.hidden
    return sizes.tokens * (rows * sizes.row + insides) + len(sizes.spec.layers) * sizes.pattern


def flow_workspace(sizes: Sizes) -> int:
    """A second copy of the outputs of the run."""
    return len(sizes.spec.graph.senders) * sizes.node


def placement_for_search(method: Costs, spec: ModelSpec, prompts: Sequence[Prompt], kept: bool) -> Placement:
    """All senders in memory, and the least memory of a method without gradients besides them."""
    if method.takes_all_prompts:
        return IN_MEMORY
    longest = max(len(prompt.clean_ids) for prompt in prompts)
    sizes = Sizes(spec, kept, longest, 1, longest)
    return Placement("memory", -(-method.workspace(sizes, 0, 1) // longest) + mask_bytes_per_token(longest))


def placement_for_readings(spec: ModelSpec, prompts: Sequence[Prompt]) -> Placement:
    """All senders of plain runs in memory, a copy of them, and the attention patterns of a layer."""
    longest = max(len(prompt.clean_ids) for prompt in prompts)
    copied = len(spec.graph.senders) * spec.width * spec.activation_bytes
    patterns = 4 * spec.num_heads * longest * spec.activation_bytes
    return Placement("memory", copied + patterns + mask_bytes_per_token(longest))


def for_method(method: Costs, spec: ModelSpec, task: Task) -> Need:
    """The need of a search with a method of `kcircuits.discover`."""
    kept = task.ablation != "zero" and method.reads_ablated
    on_cpu = spec.embedding.device.type == "cpu"
    means = means_bytes(spec, task)
    if method.takes_all_prompts:
        sizes = Sizes.of(spec, kept, task.prompts)
        mask = sizes.longest * mask_bytes_per_token(sizes.longest)
        least = sizes.engine + mask + method.workspace(sizes, 0, 1) + means
        return Need(method.name, all_text(task.prompts), least, on_cpu)
    longest = max(len(prompt.clean_ids) for prompt in task.prompts)
    if method.has_gradients:
        senders = method.settings["senders"]
        layouts: tuple[Layout, ...] = ("memory", "recomputed") if senders == "auto" else (senders,)
        how = (method.keeps_a_run, bool(method.settings["qk_fix"]))
        per_token = min(
            engine_bytes_per_token(spec, kept, layout) + run_bytes_per_token(spec, layout, longest, *how)
            for layout in layouts
        )
    else:
        beside = placement_for_search(method, spec, task.prompts, kept).beside
        per_token = engine_bytes_per_token(spec, kept) + beside
    return Need(method.name, longest_text(task.prompts), longest * per_token + means, on_cpu)


def for_circuits(spec: ModelSpec, task: Task, streams: int = 0) -> Need:
    """The need of masked runs, one circuit at a time.

    `streams`: number of layers whose streams are read at all tokens.
    """
    kept = task.ablation != "zero"
    longest = max(len(prompt.clean_ids) for prompt in task.prompts)
    beside = circuit_bytes_per_token(spec, longest, streams)
    in_memory = engine_bytes_per_token(spec, kept) + beside
    recomputed = (
        engine_bytes_per_token(spec, kept, "recomputed") + beside + recomputed_bytes_per_token(spec, kept)
    )
    least = longest * min(in_memory, recomputed) + means_bytes(spec, task)
    return Need("measuring circuits", longest_text(task.prompts), least, spec.embedding.device.type == "cpu")


def for_readings(spec: ModelSpec, prompts: Sequence[Prompt]) -> Need:
    """The need of plain runs whose senders are all read."""
    longest = max(len(prompt.clean_ids) for prompt in prompts)
    per_token = engine_bytes_per_token(spec, False) + placement_for_readings(spec, prompts).beside
    on_cpu = spec.embedding.device.type == "cpu"
    return Need("reading all nodes", longest_text(prompts), longest * per_token, on_cpu)


def longest_text(prompts: Sequence[Prompt]) -> str:
    """Text for `Need.of` if prompts can be processed one at a time."""
    return f"the longest prompt ({max(len(prompt.clean_ids) for prompt in prompts):,} tokens)"


def all_text(prompts: Sequence[Prompt]) -> str:
    """Text for `Need.of` if all prompts are processed together."""
    tokens = sum(len(prompt.clean_ids) for prompt in prompts)
    if len(prompts) == 1:
        return f"the prompt ({tokens:,} tokens)"
    return f"all {len(prompts):,} prompts ({tokens:,} tokens), which it takes together"
