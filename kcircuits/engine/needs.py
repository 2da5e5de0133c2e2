"""What every phase of a command takes at least: its smallest step, one prompt or one hypothesis.

One rule for all (`kcircuits.runtime.memory.budget_for`): a budget that is smaller than that is refused
before the work; all else is cut until it fits. Weights come on top.
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
    """What is known of a method's costs; `kcircuits.discovery.Method` says what each means."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Its options."""
        ...

    @property
    def takes_all_prompts(self) -> bool:
        """Whether it takes all prompts at once."""
        ...

    @property
    def has_gradients(self) -> bool:
        """Whether it is made of runs with gradients."""
        ...

    @property
    def keeps_a_run(self) -> bool:
        """Whether it keeps the plain run beside those that it goes through."""
        ...

    @property
    def reads_ablated(self) -> bool:
        """Whether it reads what absent edges carry."""
        ...

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """Bytes beside the engine, of a method without gradients."""
        ...


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
        """What the engine keeps where the model is (`kcircuits.engine.portions`)."""
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

    @property
    def pattern(self) -> int:
        """Bytes of the attention pattern of all heads of a layer."""
        return self.spec.num_heads * self.prompts * self.longest**2 * self.spec.activation_bytes


def _hidden(block: Mlp | Experts) -> int:
    if isinstance(block, Experts):
        return block.top_k * _hidden(block.experts[0])
    return block.w_up.shape[0]


def hypothesis_bytes(sizes: Sizes, layer: int) -> int:
    """One hypothesis that touches a receiver of a layer and reaches every node from there on.

    Nodes of the last layer are read at the last tokens alone.
    """
    graph = sizes.spec.graph
    layers, shape = graph.num_layers - layer, graph.largest
    outputs = shape.num_nodes * ((layers - 1) * sizes.tokens + layers * sizes.prompts) * sizes.row
    receivers = shape.num_attention_receivers
    projected = (receivers + shape.num_heads) * sizes.spec.head_dim * sizes.spec.activation_bytes
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
        senders = sizes.spec.graph.senders_before(layer)
        chunks.append(one * min(limit, max(1, left // one), receivers * senders))
    return kept + max(chunks)


def acdc_workspace(sizes: Sizes, memory: int, limit: int) -> int:
    """The present run's outputs, gradients and inputs of all receivers, and a chunk of hypotheses: at most.

    What is still live when a layer's turn comes depends on what was removed before.
    """
    graph = sizes.spec.graph
    receivers = graph.largest.num_attention_receivers
    kept = len(graph.senders) + 2 * len(graph.receivers)
    workspace = search_workspace(sizes, memory, kept, receivers, limit)
    return workspace + 3 * sizes.pattern


def exact_workspace(sizes: Sizes, memory: int, limit: int) -> int:
    """The full run's outputs, what no hypothesis changes, and a chunk of hypotheses of one receiver."""
    graph = sizes.spec.graph
    return search_workspace(sizes, memory, len(graph.senders) + len(graph.receivers), 1, limit)


def pruning_workspace(sizes: Sizes) -> int:
    """Outputs and their gradients, every receiver's input three times, and the insides of the blocks."""
    graph = sizes.spec.graph
    rows = 2 * len(graph.senders) + 3 * len(graph.receivers)
    insides = len(sizes.spec.layers) * 3 * sizes.hidden
    return sizes.tokens * (rows * sizes.row + insides) + len(sizes.spec.layers) * sizes.pattern


def flow_workspace(sizes: Sizes) -> int:
    """The run's outputs once more."""
    return len(sizes.spec.graph.senders) * sizes.node


def placement_for_search(method: Costs, spec: ModelSpec, prompts: Sequence[Prompt], kept: bool) -> Placement:
    """All senders in memory, and beside them what a method without gradients takes at least."""
    if method.takes_all_prompts:
        return IN_MEMORY
    longest = max(len(prompt.clean_ids) for prompt in prompts)
    sizes = Sizes(spec, kept, longest, 1, longest)
    return Placement("memory", -(-method.workspace(sizes, 0, 1) // longest) + mask_bytes_per_token(longest))


def placement_for_readings(spec: ModelSpec, prompts: Sequence[Prompt]) -> Placement:
    """All senders of plain runs in memory, a copy of them, and a layer's attention patterns."""
    longest = max(len(prompt.clean_ids) for prompt in prompts)
    copied = len(spec.graph.senders) * spec.width * spec.activation_bytes
    patterns = 4 * spec.num_heads * longest * spec.activation_bytes
    return Placement("memory", copied + patterns + mask_bytes_per_token(longest))


def for_method(method: Costs, spec: ModelSpec, task: Task) -> Need:
    """The search of a method of `kcircuits.discover`."""
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
    """Masked runs of circuits, one at a time; of `streams` layers the streams of all tokens are read."""
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
    """Plain runs whose senders are all read."""
    longest = max(len(prompt.clean_ids) for prompt in prompts)
    per_token = engine_bytes_per_token(spec, False) + placement_for_readings(spec, prompts).beside
    on_cpu = spec.embedding.device.type == "cpu"
    return Need("reading all nodes", longest_text(prompts), longest * per_token, on_cpu)


def longest_text(prompts: Sequence[Prompt]) -> str:
    """What the smallest step is of, where prompts can be taken one at a time."""
    return f"the longest prompt ({max(len(prompt.clean_ids) for prompt in prompts):,} tokens)"


def all_text(prompts: Sequence[Prompt]) -> str:
    """The same, where they are taken together."""
    tokens = sum(len(prompt.clean_ids) for prompt in prompts)
    if len(prompts) == 1:
        return f"the prompt ({tokens:,} tokens)"
    return f"all {len(prompts):,} prompts ({tokens:,} tokens), which it takes together"
