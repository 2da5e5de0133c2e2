"""The plan of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

from kcircuits.data.prompts import Prompt
from kcircuits.discover import SCORERS, method_of
from kcircuits.discover.methods import METHODS
from kcircuits.engine import CHUNK_LIMIT, Engine, acdc_chunk, check_all_fit
from kcircuits.errors import KCircuitsError
from kcircuits.layouts import IN_MEMORY, placement_for_scores
from kcircuits.memory import Layout, available, default_for, memory_bytes
from kcircuits.metrics import Metric
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.needs import (
    SEARCHES,
    Sizes,
    for_circuits,
    for_method,
    method_keeps_a_run,
    placement_for_search,
)
from kcircuits.planning import calibration
from kcircuits.planning.memory import GradientWork, gradient_work, measuring_bytes, weights_bytes
from kcircuits.portions import means_bytes, parts, portions
from kcircuits.task import Ablation, Task


@dataclass(frozen=True)
class Plan:
    """What a search is made of and takes.

    Parameters
    ----------
    method
        Its name.
    num_senders, num_receivers, num_edges
        Sizes of the full graph.
    num_prompts, num_tokens
        Of the task.
    portions
        Into how many portions the prompts are cut; ACDC and edge pruning take all at once.
    runs
        Of scoring methods: runs with gradients, over all prompts together; else 0.
    tests_at_most
        Of "acdc" and "exact": tests if no whole receiver goes early; else 0.
    steps
        Of "edge-pruning": training steps at most; else 0.
    senders
        The layout of the senders (`kcircuits.layouts`).
    blocks
        How often the senders are gone through for the runs that go together; 1 where they are in memory.
    weights, engine, workspace
        Bytes: of the weights; of the activations that are kept for a portion; of what comes on top.
    host
        Bytes of the senders in the CPU's memory, where they are kept there.
    measuring
        Bytes of the masked runs that measure the circuit in the end, which come when all else is gone.
    means
        Bytes of the means that mean ablation needs, which stay for both.
    least
        Bytes of the smallest step, by which `kcircuits.discover` refuses a budget that is less.
    least_of
        What that is: "eap needs at least 1.50 GiB for the longest prompt (2,007 tokens)".
    memory
        The budget for the search, and for the measuring.
    available
        Bytes that the machine has left now, where the model is on the CPU; else None.
    seconds
        The search's time, or None if it was not asked for. For "acdc" that of testing every edge in the full
        model, which is far more than a sparse circuit takes.
    """

    method: str
    num_senders: int
    num_receivers: int
    num_edges: int
    num_prompts: int
    num_tokens: int
    portions: int
    runs: int
    tests_at_most: int
    steps: int
    senders: Layout
    blocks: int
    weights: int
    engine: int
    workspace: int
    host: int
    measuring: int
    means: int
    least: int
    least_of: str
    memory: int
    available: int | None
    seconds: float | None

    @property
    def peak(self) -> int:
        """Bytes of the weights, the means, and of the search or the measuring: which is more."""
        return self.weights + self.means + max(self.engine + self.workspace, self.measuring)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "peak": self.peak}


def plan(
    model: Model,
    prompts: Sequence[Prompt],
    method: str = "acdc",
    *,
    ablation: Ablation = "zero",
    metric: Metric = "nll",
    reference: Sequence[Prompt] = (),
    memory: int | str | None = None,
    calibrate: bool = True,
    **options: Any,
) -> Plan:
    """Say what `kcircuits.discover` will take.

    Memory follows from sizes alone. The time is that of small pieces of the search, which are run for this
    (a few seconds for small models), times how many there are.

    Parameters
    ----------
    model, prompts, method, ablation, metric, reference, memory
        As in `kcircuits.discover`.
    options
        The method's; what it decides by in the end (`threshold`, `top_n`) costs nothing and may be left out.
    calibrate
        Whether to run those pieces.

    Raises
    ------
    KCircuitsError
        If the search would refuse the input.
    """
    if method not in METHODS:
        raise KCircuitsError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    chosen = method_of(method, _with_selection(method, options))
    task = Task(tuple(prompts), ablation, metric, tuple(reference))
    chosen.check(model.spec, task)
    spec = model.spec
    check_all_fit(spec, task.prompts)
    settings, graph = chosen.settings, spec.graph
    needs = [for_method(method, spec, task, settings), for_circuits(spec, task)]
    need = max(needs, key=lambda each: each.least)
    budget = default_for(need) if memory is None else memory_bytes(memory)
    means = means_bytes(spec, task)
    left = max(1, budget - means)
    kept = ablation != "zero"
    cut, placement = [task.prompts], IN_MEMORY
    if method in SCORERS:
        whole: Sequence[tuple[Prompt, ...]] = [task.prompts]
        if method in SEARCHES:
            placement = placement_for_search(method, spec, task.prompts, kept)
        else:
            placement = placement_for_scores(
                spec,
                task.prompts,
                left,
                kept,
                settings["senders"],
                another=method_keeps_a_run(method),
                qk_fix=settings["qk_fix"],
            )
            whole = parts(task.prompts)
        cut = [
            portion for part in whole for portion in portions(spec, part, left, kept=kept, **vars(placement))
        ]
    largest = max(cut, key=lambda portion: sum(len(prompt.clean_ids) for prompt in portion))
    sizes = Sizes.of(spec, kept, largest, placement.layout)
    work = _Work.of(method, settings, spec)
    if method in SEARCHES:
        limit = acdc_chunk(spec, sizes.prompts) if method == "acdc" else CHUNK_LIMIT
        gradients = GradientWork(1, 1, True, SEARCHES[method](sizes, left, limit))
    else:
        steps = settings.get("ig_steps", work.runs)
        gradients = gradient_work(sizes, steps, left, method_keeps_a_run(method))
    seconds = None
    if calibrate:
        portion = replace(task, prompts=largest, reference=task.reference or task.prompts)
        one = _seconds(spec, portion, budget, settings, work, placement.layout, gradients.at_a_time)
        seconds = one * len(task.prompts) / len(largest)
    return Plan(
        method=method,
        num_senders=len(graph.senders),
        num_receivers=len(graph.receivers),
        num_edges=graph.num_edges,
        num_prompts=len(task.prompts),
        num_tokens=sum(len(prompt.clean_ids) for prompt in task.prompts),
        portions=len(cut),
        runs=work.runs * len(cut),
        tests_at_most=work.tests,
        steps=work.steps,
        weights=weights_bytes(spec),
        senders=placement.layout,
        blocks=gradients.blocks,
        engine=sizes.engine,
        workspace=gradients.bytes,
        host=sizes.host,
        measuring=measuring_bytes(spec, kept, task.prompts, left),
        means=means,
        least=need.least,
        least_of=need.text,
        memory=budget,
        available=available() if need.on_cpu else None,
        seconds=seconds,
    )


def _with_selection(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options that are complete; what decides in the end costs nothing."""
    if options.keys() & {"top_n", "threshold"}:
        return options
    return {**options, **({"threshold": 0.0} if method == "acdc" else {"top_n": 1})}


@dataclass(frozen=True)
class _Work:
    """What a search over one portion is made of: runs with gradients, masked runs, or training steps."""

    runs: int = 0
    tests: int = 0
    steps: int = 0
    begins_anywhere: bool = False  # runs that hold a node begin there

    @classmethod
    def of(cls, method: str, settings: dict[str, Any], spec: ModelSpec) -> _Work:
        graph = spec.graph
        match method:
            case "eap" | "relp":
                return cls(runs=1)
            case "clean-corrupted":
                return cls(runs=2)
            case "eap-ig-inputs":
                return cls(runs=settings["ig_steps"])
            case "eap-ig-activations":
                return cls(runs=settings["ig_steps"] * (2 * graph.num_layers + 1), begins_anywhere=True)
            case "exact":
                return cls(tests=graph.num_edges)
            case "acdc":
                whole = sum(shape.num_attention_receivers for shape in graph.layers)
                return cls(tests=graph.num_edges + whole)
            case "edge-pruning":
                return cls(steps=settings["steps"])
        return cls()


def _seconds(
    spec: ModelSpec,
    task: Task,
    memory: int,
    settings: dict[str, Any],
    work: _Work,
    layout: Layout,
    at_a_time: int,
) -> float:
    """Seconds of a search over one portion."""
    Engine(spec, task, layout=layout)  # the first is slower
    start = perf_counter()
    engine = Engine(spec, task, layout=layout)
    built = perf_counter() - start
    if work.tests:
        return built + work.tests * calibration.seconds_of_edge(engine, memory)
    if work.steps:
        return built + work.steps * calibration.seconds_of_step(engine)
    if not work.runs:
        return 2 * built
    one = calibration.seconds_of_run(engine, memory, at_a_time)
    if settings.get("qk_fix"):
        passes = 2 if task.ablation == "corrupt" else 1
        one += calibration.seconds_of_correction(spec, built / passes)
    return built + one * work.runs * (0.5 if work.begins_anywhere else 1.0)
