"""The plan of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

from kcircuits.data.prompts import Prompt
from kcircuits.discovery import Method
from kcircuits.discovery.method import Forecast, Work
from kcircuits.discovery.run import check_experiment
from kcircuits.engine import Engine, engine_of
from kcircuits.engine.layouts import IN_MEMORY, placement_for_scores
from kcircuits.engine.needs import Sizes, for_circuits, for_method, placement_for_search
from kcircuits.engine.portions import means_bytes, parts, portions
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.planning import calibration
from kcircuits.planning.memory import GradientWork, gradient_work, measuring_bytes, weights_bytes
from kcircuits.runtime.memory import Layout, available_memory, default_for, memory_bytes
from kcircuits.task import Task


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
        Masked runs of single edges, if no whole receiver goes early; 0 for a method that runs none.
    steps
        Training steps at most; 0 for a method that does not train.
    senders
        The layout of the senders (`kcircuits.engine.layouts`).
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
        The search's time, or None if it was not asked for; see `time_at_most`.
    time_at_most
        Whether that is the time of testing every edge in the full model, which is far more than a sparse
        circuit takes.
    expected_seconds
        For a method whose time depends on what it finds: what a probe, which runs the search for a few
        seconds, makes one expect. None for other methods, or without a probe.
    expected_low, expected_high
        The central 80% of the simulations; the truth lies outside more often than that suggests.
    probe_finished
        Whether the probe has run the whole search.
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
    time_at_most: bool
    expected_seconds: float | None = None
    expected_low: float | None = None
    expected_high: float | None = None
    probe_finished: bool = False

    @property
    def peak(self) -> int:
        """Bytes of the weights, the means, and of the search or the measuring: which is more."""
        return self.weights + self.means + max(self.engine + self.workspace, self.measuring)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "peak": self.peak}


def plan(
    model: Model,
    task: Task,
    method: Method,
    *,
    memory: int | str | None = None,
    calibrate: bool = True,
    probe: bool = True,
) -> Plan:
    """Say what `kcircuits.discover` will take.

    Memory follows from sizes alone. The time is that of small pieces of the search, which are run for this
    (a few seconds for small models), times how many there are.

    Parameters
    ----------
    model, task, method, memory
        As in `kcircuits.discover`; what a method decides by in the end (a threshold, a number of edges) costs
        nothing.
    calibrate
        Whether to run those pieces.
    probe
        Whether to run the search itself for a few seconds as well, where its time depends on what it finds
        (`Acdc`). Without `calibrate` nothing is run.

    Raises
    ------
    KCircuitsError
        If the search would refuse the input.
    """
    spec = check_experiment(model, task, method)
    graph = spec.graph
    needs = [for_method(method, spec, task), for_circuits(spec, task)]
    need = max(needs, key=lambda each: each.least)
    budget = default_for(need) if memory is None else memory_bytes(memory)
    means = means_bytes(spec, task)
    left = max(1, budget - means)
    kept = task.ablation != "zero"
    cut, placement = [task.prompts], IN_MEMORY
    if method.scores_all_edges:
        whole: Sequence[tuple[Prompt, ...]] = [task.prompts]
        if method.has_gradients:
            placement = placement_for_scores(
                spec,
                task.prompts,
                left,
                kept,
                method.settings["senders"],
                another=method.keeps_a_run,
                qk_fix=method.settings["qk_fix"],
            )
            whole = parts(task.prompts)
        else:
            placement = placement_for_search(method, spec, task.prompts, kept)
        cut = [
            portion for part in whole for portion in portions(spec, part, left, kept=kept, **vars(placement))
        ]
    largest = max(cut, key=lambda portion: sum(len(prompt.clean_ids) for prompt in portion))
    sizes = Sizes.of(spec, kept, largest, placement.layout)
    work = method.work(graph)
    if method.has_gradients:
        gradients = gradient_work(sizes, work.together, left, method.keeps_a_run)
    else:
        gradients = GradientWork(1, 1, True, method.workspace(sizes, left))
    seconds = None
    if calibrate:
        portion = replace(task, prompts=largest, reference=task.reference or task.prompts)
        one = _seconds(spec, portion, budget, method, work, placement.layout, gradients.at_a_time)
        seconds = one * len(task.prompts) / len(largest)
    expected = _probe(spec, task, method, budget) if calibrate and probe and method.tests_fewer else None
    return Plan(
        method=method.name,
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
        available=available_memory() if need.on_cpu else None,
        seconds=seconds,
        time_at_most=method.tests_fewer,
        expected_seconds=None if expected is None else expected.seconds,
        expected_low=None if expected is None else expected.low,
        expected_high=None if expected is None else expected.high,
        probe_finished=expected is not None and expected.finished,
    )


def _probe(spec: ModelSpec, task: Task, method: Method, memory: int) -> Forecast | None:
    """The forecast of a search over all prompts, building its engine included."""
    resolved, _ = method.resolve(spec, task, memory)
    start = perf_counter()
    engine = engine_of(spec, task, memory)
    built = perf_counter() - start
    found = resolved.probe(spec, engine, memory)
    if found is None:
        return None
    times = {name: getattr(found, name) + built for name in ("seconds", "low", "high")}
    return replace(found, **times)


def _seconds(
    spec: ModelSpec,
    task: Task,
    memory: int,
    method: Method,
    work: Work,
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
    if method.settings.get("qk_fix"):
        passes = 2 if task.ablation == "corrupt" else 1
        one += calibration.seconds_of_correction(spec, built / passes)
    return built + one * work.runs * (0.5 if work.begins_anywhere else 1.0)
