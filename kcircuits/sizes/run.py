"""Compare methods over sizes: each finds circuits on the same prompts, and all are measured on these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

import numpy as np

from kcircuits.data.metrics import faithfulness, reported
from kcircuits.discovery import METHODS, Progress, ProgressCallback, Steps, method_of
from kcircuits.discovery.by_scores import check_differences
from kcircuits.discovery.run import check_task
from kcircuits.engine import check_all_fit, measure
from kcircuits.engine.needs import for_circuits, for_method
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.sizes.comparison import SizeComparison
from kcircuits.sizes.methods import RANDOM, Job, curve_of, known_names
from kcircuits.sizes.options import SizeOptions
from kcircuits.sizes.progress import MethodProgress, MethodProgressCallback
from kcircuits.task import Task

DEFAULT_METHODS = ("eap", "eap-ig-inputs", RANDOM)


def compare_sizes(
    model: Model,
    task: Task,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    options: SizeOptions | None = None,
    memory: int | str | None = None,
    progress: MethodProgressCallback | None = None,
) -> SizeComparison:
    """Find circuits of many sizes with several methods, and report how faithful each is.

    Methods that score all edges give a circuit at every size (`kcircuits.evaluation.size_curve`), and so does
    "random": connected circuits drawn with several seeds. Others search once for each size or threshold.

    Parameters
    ----------
    model, task, memory
        As in `kcircuits.discover`.
    methods
        Names of any of `kcircuits.discovery.METHODS`, and "random"; each once.
    options
        At which sizes; by default `SizeOptions()`.
    progress
        Called as the methods go on with a `MethodProgress`; an exception ends the comparison.

    Raises
    ------
    KCircuitsError
        If anything of the input cannot be used, or ablating every edge changes nothing, so that there is no
        faithfulness; before any search begins.
    """
    options = options or SizeOptions()
    check_methods(methods, model.spec, task)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    spec = task.changed(model.spec)
    needs = [for_method(method_of(name, {}), spec, task) for name in methods if name in METHODS]
    budget = budget_for(memory, [for_circuits(spec, task), *needs])
    both = np.stack([spec.graph.valid, np.zeros_like(spec.graph.valid)])
    full, empty = measure(spec, task, both, budget)
    if faithfulness(full, empty, empty) is None:
        raise KCircuitsError(
            f"ablating every edge leaves the metric {task.metric} at {full:.6g} on these prompts, so there "
            "is no faithfulness to compare by"
        )
    job = Job(model, task, options, budget, full, empty)
    curves = []
    for done, name in enumerate(methods):
        at = partial(MethodProgress, name, done, len(methods))
        curves.append(curve_of(job, name, _reports(progress, at, max(1, len(job.searches(name))))))
    settings = {
        key: value for key, value in task.settings.items() if key != "num_reference"
    } | options.settings
    ends = reported(task.metric, full), reported(task.metric, empty)
    return SizeComparison(model.identity, settings, *ends, tuple(curves))


def check_methods(methods: Sequence[str], spec: ModelSpec, task: Task) -> None:
    """Make sure that every method is known, there once, and can do the task.

    Raises KCircuitsError if not.
    """
    check_task(task)
    if not methods:
        raise KCircuitsError(f"there are no methods to compare; take some of {', '.join(known_names())}")
    check_differences(task)
    for name in methods:
        if name not in known_names():
            raise KCircuitsError(f"a method must be one of {', '.join(known_names())}; got {name!r}")
        if list(methods).count(name) > 1:
            raise KCircuitsError(f"the method {name!r} is there twice")
        if name in METHODS and METHODS[name].scores_all_edges:
            method_of(name, {}).check(spec, task)


def _reports(
    progress: MethodProgressCallback | None, at: partial[MethodProgress], runs: int
) -> Iterator[ProgressCallback]:
    """A callback for each of a method's searches; says at once that the search begins."""
    for run in count():
        if progress is not None:
            progress(at(min(run, runs - 1), runs, None))

        def report(inner: Progress | Steps, run: int = run) -> None:
            if progress is not None:
                progress(at(run, runs, inner))

        yield report
