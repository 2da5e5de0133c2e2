"""Compare methods over circuit sizes: all find circuits on the same prompts and are measured on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

import numpy as np

from kcircuits.data.metrics import clamp_metric, faithfulness
from kcircuits.discovery import Method, Progress, ProgressCallback, Steps
from kcircuits.discovery.by_scores import check_differences
from kcircuits.display.progress import show_progress
from kcircuits.engine import measure
from kcircuits.engine.needs import for_circuits, for_method
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.prepare import prepared
from kcircuits.files.documents import quote
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.sizes.comparison import SizeComparison
from kcircuits.sizes.methods import Compared, Job, known_names, measure_curve
from kcircuits.sizes.options import DEFAULT_METHODS, SizeOptions
from kcircuits.sizes.progress import MethodProgress, MethodProgressCallback
from kcircuits.sizes.random_circuits import RandomCircuits
from kcircuits.task import Task, check_task


def compare_sizes(
    model: Model,
    task: Task,
    methods: Sequence[Compared] = DEFAULT_METHODS,
    *,
    options: SizeOptions | None = None,
    memory: int | str | None = None,
    progress: MethodProgressCallback | bool | None = None,
) -> SizeComparison:
    """Find circuits of many sizes with several methods, and report their faithfulness.

    Methods that score all edges give a circuit of each size (`kcircuits.evaluation.size_curve`), and so do
    `RandomCircuits`, which are drawn with several seeds. Other methods search once for each size or
    threshold.

    Parameters
    ----------
    model, task, memory
        As in `kcircuits.discover`.
    methods
        Objects such as `Eap()`, `EapIg(steps=5)` and `RandomCircuits(count=5)`, at most one of each class.
    options
        The sizes; by default `SizeOptions()`.
    progress
        As in `kcircuits.discover`. A callback gets a `MethodProgress`, and an exception ends the comparison.

    Raises
    ------
    KCircuitsError
        If the input cannot be used, or if ablating all edges does not change the metric, so that there is no
        faithfulness; before any search begins.
    """
    options = options or SizeOptions()
    check_methods(methods, model.spec, task)
    spec = prepared(model, task)
    needs = [for_method(method, spec, task) for method in methods if isinstance(method, Method)]
    budget = budget_for(memory, [for_circuits(spec, task), *needs])
    both = np.stack([spec.graph.valid, np.zeros_like(spec.graph.valid)])
    full, empty = measure(spec, task, both, budget)
    if faithfulness(full, empty, empty) is None:
        raise KCircuitsError(
            f"ablating every edge leaves the metric {task.metric} at {full:.6g} on these prompts, so "
            "faithfulness is not defined"
        )
    job = Job(model, task, options, budget, full, empty)
    curves = []
    with show_progress(progress) as report:
        for done, method in enumerate(methods):
            at = partial(MethodProgress, method.name, done, len(methods))
            curves.append(measure_curve(job, method, _reports(report, at, max(1, len(job.searches(method))))))
    settings = {
        key: value for key, value in task.settings.items() if key != "num_reference"
    } | options.settings
    ends = clamp_metric(task.metric, full), clamp_metric(task.metric, empty)
    return SizeComparison(model.identity, settings, *ends, tuple(curves))


def check_methods(methods: Sequence[Compared], spec: ModelSpec, task: Task) -> None:
    """Raise KCircuitsError unless all methods are valid, given once, and can do the task."""
    check_task(task)
    if not methods:
        raise KCircuitsError(f"there are no methods to compare; choose from {', '.join(known_names())}")
    check_differences(task)
    names: set[str] = set()
    for method in (methods,) if isinstance(methods, str) else methods:
        if not isinstance(method, Method | RandomCircuits):
            raise KCircuitsError(
                "a method must be an object such as kcircuits.EapIg() or kcircuits.RandomCircuits(), got "
                f"{quote(method)}"
            )
        if method.name in names:
            raise KCircuitsError(f"the method {method.name!r} occurs twice")
        names.add(method.name)
        if isinstance(method, Method):
            method.check(spec, task)


def _reports(
    progress: MethodProgressCallback | None, at: partial[MethodProgress], runs: int
) -> Iterator[ProgressCallback]:
    """A callback for each search of a method. It reports the start of the search at once."""
    for run in count():
        if progress is not None:
            progress(at(min(run, runs - 1), runs, None))

        def report(inner: Progress | Steps, run: int = run) -> None:
            if progress is not None:
                progress(at(run, runs, inner))

        yield report
