"""A typed interface to the compiled engine: batched masked runs, ACDC, and scores of all edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from kcircuits._native import C
from kcircuits.data.prompts import Prompt, batch, check_fits
from kcircuits.engine.layouts import (
    IN_MEMORY,
    Placement,
    logit_bytes,
    placement_for_circuits,
    recomputed_bytes_per_token,
)
from kcircuits.engine.portions import means_bytes, portions
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import Layout, give_back, memory_bytes
from kcircuits.task import Task

CHUNK_LIMIT = 512
"""Maximum number of hypotheses in a batch; more are not faster, even if they fit into memory."""

DRAFTED_ROWS = 96
"""Number of last rows in a batch of ACDC with which matrix products reach a CPU's full speed. A longer batch
saves less than it wastes on hypotheses after a wrong speculation."""

Rule = Literal["gradient", "relevance"]
Counter = Callable[[int, int], None]
"""Called with the number of finished steps and of all steps; an exception or Ctrl-C stops the work."""


class Keeper(Protocol):
    """Interface of an object that saves snapshots of a search: name -> tensor on the CPU."""

    @property
    def snapshot(self) -> Mapping[str, Tensor] | None:
        """The snapshot to resume from, or None to start from the beginning."""
        ...

    def due(self) -> bool:
        """Whether to save a snapshot now."""
        ...

    def keep(self, snapshot: Mapping[str, Tensor]) -> None:
        """Save a snapshot; an exception stops the search."""
        ...


class Engine:
    """One task on one model, ready for masked runs (docs/exact-acdc.md).

    Its construction runs the model once, and once more on the corrupt prompts for corrupt ablation. Sizes: N
    prompts, S senders, R receivers, width D. Activations are float32 (float64 in a float64 model) for any
    dtype of the weights.

    Parameters
    ----------
    spec
        The model.
    task
        The prompts, the ablation and the metric.
    means
        Result of `mean_activations` for this task; computed if None.
    layout
        Where sender outputs are stored (`kcircuits.engine.layouts`). Layouts other than "memory" work only
        for gradient scores and masked runs, and "bfloat16" only for gradient scores.

    Raises
    ------
    KCircuitsError
        If a prompt does not fit the model.
    """

    def __init__(
        self, spec: ModelSpec, task: Task, means: Tensor | None = None, layout: Layout = "memory"
    ) -> None:
        check_all_fit(spec, task.prompts)
        if task.is_mean and means is None:
            means = mean_activations(spec, task, memory_bytes(None))
        self._spec = spec
        self.graph: Graph = spec.graph
        self.num_prompts = len(task.prompts)
        self._session = _session(spec, task, means, layout)
        self.starts: list[int] = np.cumsum([0, *(len(prompt.clean_ids) for prompt in task.prompts)]).tolist()
        """Index of the first token of each prompt among the P tokens of all prompts, then P, [N + 1]."""
        self.bytes: int = self._session.bytes()
        """Dtype of the activations that the engine stores."""
        self._bytes_of_node = (self.starts[-1] + self.num_prompts) * spec.width * spec.activation_bytes
        self._means = 0 if means is None else means.nbytes
        beside = recomputed_bytes_per_token(spec, task.ablation != "zero") if layout != "memory" else 0
        self._beside_circuits = self.starts[-1] * beside

    def _workspace(self, memory: int, beside: int = 0) -> int:
        """Bytes of a budget left for runs after the engine, the means and `beside` further bytes."""
        return max(1, memory - self.bytes - self._means - beside)

    def close(self) -> None:
        """Free the activations; afterwards only the sizes of the engine can be used."""
        self._session = None

    def full_rows(self) -> Tensor:
        """The full model's final-normed rows at each prompt's last position, [N, D]."""
        rows: Tensor = self._session.full_rows()
        return rows

    def masked_rows(self, masks: np.ndarray, memory: int) -> Tensor:
        """Final-normed rows [M, N, D] of the masked runs of M circuits.

        Parameters
        ----------
        masks
            Present edges, bool [M, S, R].
        memory
            Bytes for the engine and the circuits that run together; at least one circuit always runs.
        """
        rows: Tensor = self._session.masked_run(
            torch.from_numpy(np.ascontiguousarray(masks)), self._workspace(memory, self._beside_circuits)
        )
        return rows

    def masked_streams(self, masks: np.ndarray, rows: Tensor, memory: int) -> Tensor:
        """The streams of the masked runs of M circuits, layer by layer, before the final norm.

        After l layers, the stream is what the logits would read if only these layers had senders:
        Σ a_s over present edges s→logits + Σ ã_s over absent ones + Σ b_O, over senders before layer l. At
        l = L it is the input of the logits.

        Parameters
        ----------
        masks
            Present edges, bool [M, S, R], at least one.
        rows
            Indices into the P tokens (see `starts`), int64 [n].
        memory
            As in `masked_rows`.

        Returns
        -------
        Tensor
            [M, L + 1, n, D].
        """
        masks_ = torch.from_numpy(np.ascontiguousarray(masks))
        workspace = self._workspace(memory, self._beside_circuits)
        streams: Tensor = self._session.masked_streams(masks_, rows, workspace)
        return streams

    def senders(self) -> Tensor:
        """The outputs of all senders in the plain run on the clean prompts, [S, P, D]; do not modify them."""
        outputs: Tensor = self._session.sender_outputs()
        return outputs

    def attention(self, layer: int) -> tuple[Tensor, Tensor]:
        """The attention patterns and values of a layer in the plain run.

        Returns
        -------
        tuple of Tensor
            The attention pattern, [H, N, T, T]: weights from a query's position (second last) to the keys'
            (last); each prompt starts at index 0, T is the longest prompt's length, and entries of padding
            are meaningless. Then the values of the key/value heads, biases included, [K, P, d].
        """
        pattern, values = self._session.attention(layer)
        return pattern, values

    def metric(self, rows: Tensor) -> Tensor:
        """The metric of each prompt, float64 [M, N], from its final-normed rows [M, N, D]."""
        values: Tensor = self._session.metric(rows)
        return values

    def measure(self, masks: np.ndarray, memory: int) -> list[float]:
        """The metric of M circuits, averaged over prompts; arguments as in `masked_rows`."""
        values: list[float] = self.metric(self.masked_rows(masks, memory)).mean(dim=1).tolist()
        return values

    def acdc(
        self,
        threshold: float,
        *,
        absolute: bool,
        memory: int,
        progress: Callable[[Any], None] | None,
        chunk_limit: int | None = None,
        checkpoint: Keeper | None = None,
    ) -> Any:
        """Run the compiled search (see `kcircuits.discovery.acdc`).

        `progress` is called after every chunk of hypotheses with an `AcdcProgress`; an exception that it
        raises stops the search, and so does Ctrl-C. Returns an `AcdcResult`. If `checkpoint.due` is true
        after a chunk, or if the search stops early, `checkpoint.keep` receives a snapshot. If
        `checkpoint.snapshot` is not None, the search resumes from it; with the same arguments the result is
        the same bit for bit.
        """
        # The search stores the outputs of all senders, the gradients at all receivers, and the parts of the
        # receivers' inputs that no hypothesis changes.
        kept = len(self.graph.senders) + 2 * len(self.graph.receivers)
        workspace = self._workspace(memory, kept * self._bytes_of_node)
        if chunk_limit is None:
            chunk_limit = acdc_chunk(self._spec, self.num_prompts)
        if checkpoint is None:
            return self._session.acdc(threshold, absolute, workspace, chunk_limit, progress)
        return self._session.acdc(
            threshold,
            absolute,
            workspace,
            chunk_limit,
            progress,
            due=checkpoint.due,
            keep=checkpoint.keep,
            resume=checkpoint.snapshot,
        )

    def path_scores(
        self, points: Sequence[float], *, rule: Rule, qk_fix: bool, memory: int, progress: Counter | None
    ) -> Tensor:
        """Gradient scores averaged over runs between ablated and clean input, [S, R].

        score(s→r) = Σ (ã_s − a_s) · ∂metric/∂x_r over positions and prompts, with the gradient at the run
        whose `input` is ã + point·(a − ã): 1 is the clean run.

        Parameters
        ----------
        points
            At least one.
        rule
            How the gradient passes nonlinearities: by their derivative, or by the rules of RelP.
        qk_fix
            Recompute attention patterns for changed queries and keys instead of using the gradient (AtP*).
        memory
            Bytes for the engine and the runs that are stored at a time; at least one run is stored.
        """
        workspace = self._workspace(memory, logit_bytes(self._spec, self.num_prompts))
        scores: Tensor = self._session.path_scores(list(points), rule, qk_fix, workspace, progress)
        return scores

    def activation_scores(self, steps: int, *, qk_fix: bool, memory: int, progress: Counter | None) -> Tensor:
        """EAP-IG on activations, averaged over runs that fix one node between ã and a, [S, R]."""
        workspace = self._workspace(memory, logit_bytes(self._spec, self.num_prompts))
        scores: Tensor = self._session.activation_scores(steps, qk_fix, workspace, progress)
        return scores

    def exact_scores(
        self,
        wanted: np.ndarray,
        *,
        memory: int,
        progress: Counter | None,
        chunk_limit: int = CHUNK_LIMIT,
    ) -> Tensor:
        """Exact effect of removing each edge: the change of the mean metric, float64 [S, R].

        `wanted`, bool [S, R], selects edges; the others get 0.
        """
        mask = torch.from_numpy(np.ascontiguousarray(wanted & self.graph.valid))
        kept = len(self.graph.senders) + len(self.graph.receivers)
        workspace = self._workspace(memory, kept * self._bytes_of_node)
        scores: Tensor = self._session.exact_scores(mask, workspace, chunk_limit, progress)
        return scores

    def soft_run(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A masked run with weighted edges: each receiver reads Σ w a_s + (1 − w) ã_s.

        Parameters
        ----------
        weights
            Floating [S, R]; entries without an edge are ignored.

        Returns
        -------
        tuple of Tensor
            The metric of each prompt, float64 [N]; and the gradient of its mean with
            respect to `weights`, [S, R].
        """
        metric, gradient = self._session.soft_run(weights)
        return metric, gradient

    def flow_scores(self) -> Tensor:
        """Information-flow routes (zero ablation only): contributions summed over prompts, [S, R]."""
        scores: Tensor = self._session.flow_scores()
        return scores


def acdc_chunk(spec: ModelSpec, num_prompts: int) -> int:
    """Maximum number of hypotheses in a batch of ACDC."""
    if spec.unembedding.device.type != "cpu":
        return CHUNK_LIMIT
    return max(1, DRAFTED_ROWS // num_prompts)


def engines(
    spec: ModelSpec,
    task: Task,
    memory: int,
    placement: Placement = IN_MEMORY,
    means: Tensor | None = None,
) -> Iterator[Engine]:
    """Engines for consecutive portions of a task's prompts (`kcircuits.engine.portions`).

    An engine is closed when the next one is requested, so only one exists at a time.

    `means`: result of `mean_activations` for the task; computed if None.
    """
    check_all_fit(spec, task.prompts)
    if task.is_mean and means is None:
        means = mean_activations(spec, task, memory, placement)
    reference = task.reference or task.prompts
    left = max(1, memory - means_bytes(spec, task))
    for portion in portions(spec, task.prompts, left, kept=task.ablation != "zero", **vars(placement)):
        engine = Engine(spec, replace(task, prompts=portion, reference=reference), means, placement.layout)
        yield engine
        engine.close()  # before the next one is built, even if a caller still references it


def engines_for_circuits(spec: ModelSpec, task: Task, memory: int, streams: int = 0) -> Iterator[Engine]:
    """`engines` for masked runs, in the layout of `placement_for_circuits`.

    `streams`: number of layers whose streams are read at all tokens (`masked_streams`).
    """
    check_all_fit(spec, task.prompts)
    left = max(1, memory - means_bytes(spec, task))
    placement = placement_for_circuits(spec, task.prompts, left, task.ablation != "zero", streams)
    yield from engines(spec, task, memory, placement)


def engine_of(spec: ModelSpec, task: Task, memory: int) -> Engine:
    """One engine for all prompts of a task; `memory` limits the computation of means."""
    check_all_fit(spec, task.prompts)
    return Engine(spec, task, mean_activations(spec, task, memory) if task.is_mean else None)


def measure(spec: ModelSpec, task: Task, masks: np.ndarray, memory: int) -> list[float]:
    """The metric of M circuits, bool [M, S, R], averaged over all prompts of a task."""
    sums = np.zeros(len(masks))
    for engine in engines_for_circuits(spec, task, memory):
        sums += np.array(engine.measure(masks, memory)) * engine.num_prompts
    values: list[float] = (sums / len(task.prompts)).tolist()
    return values


def mean_activations(spec: ModelSpec, task: Task, memory: int, placement: Placement = IN_MEMORY) -> Tensor:
    """Mean sender outputs in plain runs on the clean prompts of the task's reference.

    Returns
    -------
    Tensor
        [S, 1, D], the mean over all tokens; or, for `mean-positional`, [S, T, D], the means at each position,
        where T is the length of the longest prompt.
    """
    by_position = task.ablation == "mean-positional"
    reference = task.reference or task.prompts
    check_all_fit(spec, reference)
    lengths = torch.tensor([len(prompt.clean_ids) for prompt in reference])
    longest = int(lengths.max()) if by_position else 1
    sums: Tensor | None = None
    left = max(1, memory - means_bytes(spec, task))
    # Sender outputs rounded to bfloat16 would give rounded means.
    exact = replace(placement, layout="recomputed") if placement.layout == "bfloat16" else placement
    for portion in portions(spec, reference, left, **vars(exact)):
        part = _session(spec, Task(portion, "zero"), None, exact.layout).sender_sums(by_position)
        if sums is None:
            sums = part.new_zeros(part.shape[0], longest, part.shape[2])
        sums[:, : part.shape[1]] += part
        del part
    assert sums is not None
    give_back()
    if not by_position:
        return sums.div_(lengths.sum())
    counts = (lengths[None, :] > torch.arange(longest)[:, None]).sum(dim=1)  # [T]
    return sums.div_(counts.to(sums.device)[:, None])


def _session(spec: ModelSpec, task: Task, means: Tensor | None, layout: Layout) -> Any:
    _check_regular(spec.graph)
    padded = batch([_drop_unused(prompt, task) for prompt in task.prompts])
    return C.Session(
        spec=spec,
        clean=padded.clean,
        lengths=padded.lengths,
        answers=padded.answers,
        wrong=padded.wrong,
        corrupt=padded.corrupt,
        mean=means,
        metric=task.metric,
        layout=layout,
    )


def _check_regular(graph: Graph) -> None:
    for layer, shape in enumerate(graph.layers):
        if shape != graph.layers[0] or not shape.has_mlp:
            raise KCircuitsError(
                f"the engine needs an MLP and the same number of heads in every layer; layer {layer} has "
                f"{shape.num_heads} query heads, {shape.num_kv_heads} key/value heads and "
                f"{'an' if shape.has_mlp else 'no'} MLP. Its circuits can be read and drawn, but not run"
            )


def check_all_fit(spec: ModelSpec, prompts: Sequence[Prompt]) -> None:
    """Raise KCircuitsError if a prompt is too long for the model, or has ids outside its vocabulary."""
    for number, prompt in enumerate(prompts, start=1):
        try:
            check_fits(prompt, spec.vocab_size, spec.max_positions)
        except KCircuitsError as error:
            raise KCircuitsError(f"prompt {number}: {error}") from error


def _drop_unused(prompt: Prompt, task: Task) -> Prompt:
    """Drop the fields that the task does not use, because some prompts of the task may lack them."""
    if task.ablation != "corrupt":
        prompt = replace(prompt, corrupt_ids=None)
    return prompt if task.metric == "logit-diff" else replace(prompt, wrong_id=None)
