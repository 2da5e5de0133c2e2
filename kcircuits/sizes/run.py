"""Compare methods over sizes: each finds circuits on the same prompts, and all are measured on these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from kcircuits.data.prompts import Prompt
from kcircuits.discover import METHODS, SCORERS, Progress, ProgressCallback, Steps, scorer_of
from kcircuits.discover.by_scores import check_differences
from kcircuits.engine import check_all_fit, measure
from kcircuits.errors import KCircuitsError
from kcircuits.memory import budget_for
from kcircuits.metrics import Metric, faithfulness, reported
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import changed
from kcircuits.needs import for_circuits, for_method
from kcircuits.sizes.comparison import SizeComparison
from kcircuits.sizes.methods import NAMES, RANDOM, Job, curve_of
from kcircuits.sizes.options import SizeOptions
from kcircuits.sizes.progress import MethodProgress, MethodProgressCallback
from kcircuits.task import Ablation, Task

DEFAULT_METHODS = ("eap", "eap-ig-inputs", RANDOM)


def compare_sizes(
    model: Model,
    prompts: Sequence[Prompt],
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    ablation: Ablation = "corrupt",
    metric: Metric = "nll",
    reference: Sequence[Prompt] = (),
    fold_value_biases: bool = False,
    keep_positions: bool = False,
    options: SizeOptions | None = None,
    memory: int | str | None = None,
    progress: MethodProgressCallback | None = None,
) -> SizeComparison:
    """Find circuits of many sizes with several methods, and say how faithful each is.

    Methods that score all edges give a circuit at every size (`kcircuits.evaluate.size_curve`), and so does
    "random": connected circuits drawn with several seeds. "acdc" gives one circuit per threshold, of
    whatever size; "edge-pruning" is trained for each size.

    Parameters
    ----------
    model, prompts, ablation, metric, reference, fold_value_biases, keep_positions, memory
        As in `kcircuits.discover`.
    methods
        Any of `kcircuits.discover.METHODS`, and "random"; each once.
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
    task = Task(tuple(prompts), ablation, metric, tuple(reference))
    check_methods(methods, model.spec, task)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    spec = changed(model.spec, fold_value_biases=fold_value_biases, keep_positions=keep_positions)
    needs = [for_method(name, spec, task, {}) for name in methods if name in METHODS]
    budget = budget_for(memory, [for_circuits(spec, task), *needs])
    both = np.stack([spec.graph.valid, np.zeros_like(spec.graph.valid)])
    full, empty = measure(spec, task, both, budget)
    if faithfulness(full, empty, empty) is None:
        raise KCircuitsError(
            f"ablating every edge leaves the metric {metric} at {full:.6g} on these prompts, so there is no "
            "faithfulness to compare by"
        )
    how: dict[str, Any] = {
        "ablation": ablation,
        "metric": metric,
        "reference": task.reference,
        "fold_value_biases": fold_value_biases,
        "keep_positions": keep_positions,
    }
    job = Job(model, task.prompts, how, options, budget, full, empty)
    curves = []
    for done, name in enumerate(methods):
        at = partial(MethodProgress, name, done, len(methods))
        curves.append(curve_of(job, name, _reports(progress, at, len(job.searches(name)))))
    settings = {key: value for key, value in how.items() if key != "reference"}
    settings |= {"num_prompts": len(task.prompts), **options.settings}
    ends = reported(metric, full), reported(metric, empty)
    return SizeComparison(model.identity, settings, *ends, tuple(curves))


def check_methods(methods: Sequence[str], spec: ModelSpec, task: Task) -> None:
    """Make sure that every method is known, there once, and can do the task.

    Raises KCircuitsError if not.
    """
    if not methods:
        raise KCircuitsError(f"there are no methods to compare; take some of {', '.join(NAMES)}")
    check_differences(task)
    for name in methods:
        if name not in NAMES:
            raise KCircuitsError(f"a method must be one of {', '.join(NAMES)}; got {name!r}")
        if list(methods).count(name) > 1:
            raise KCircuitsError(f"the method {name!r} is there twice")
        if name in SCORERS:
            scorer_of(name, {}).check(spec, task)


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
