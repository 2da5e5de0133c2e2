"""What is computed from an evaluation's runs: means, intervals, faithfulness, completeness, p-value."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.evaluation import Evaluation, RunMeasures
from kcircuits.evaluation.intervals import resampling_weights


def run_of(metric: list[float], rank: list[float] | None = None) -> RunMeasures:
    size = len(metric)
    return RunMeasures(tuple(metric), tuple(rank or [1.0] * size), (0.5,) * size, (0.25,) * size)


def evaluation_of(**runs: Any) -> Evaluation:
    defaults = {
        "full": run_of([1, 1]), "circuit": run_of([2, 2]), "complement": run_of([8, 8]),
        "empty": run_of([9, 9]), "random": (),
    }  # fmt: skip
    return Evaluation(
        model={}, ablation="zero", metric="nll", fold_value_biases=False, num_edges=3, num_graph_edges=9,
        num_nodes=4, seed=0, hit_k=5, **(defaults | runs),
    )  # fmt: skip


def test_means():
    run = RunMeasures(metric=(1.0, 2.0), rank=(10.0, 10.5), probability=(0.5, 0.25), kl=(0.0, 3.0))
    assert (run.mean_metric, run.mean_rank, run.mean_probability, run.mean_kl) == (1.5, 10.25, 0.375, 1.5)
    assert (run.hit_at_10, run.hit_at(9), run.hit_at(11)) == (0.5, 0, 1)


def test_a_tie_for_the_first_place_is_no_accurate_answer():
    assert run_of([0.0] * 4, [1.0, 1.5, 2.0, 1.0]).accuracy == 0.5


def test_on_some_prompts():
    run = run_of([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).on([2, 0])
    assert (run.metric, run.rank, run.kl) == ((3, 1), (6, 4), (0.25, 0.25))
    evaluation = evaluation_of(circuit=run_of([2, 4]), random=(run_of([1, 9]),)).on([1])
    assert (evaluation.num_prompts, evaluation.faithfulness, evaluation.random_faithfulness) == (
        1,
        0.625,
        (0,),
    )


def test_intervals_are_those_of_the_resampled_means():
    rng = np.random.default_rng(5)
    metric, rank = rng.normal(size=12), rng.integers(1, 20, size=12)
    run = run_of(metric.tolist(), rank.tolist())
    intervals = run.intervals(resampling_weights(12, 3), hit_k=4)

    draws = np.random.default_rng(3).multinomial(12, [1 / 12] * 12, size=1000)
    resamples = [np.repeat(np.arange(12), counts) for counts in draws]
    for name, values in {
        "metric": metric, "mean_rank": rank, "hit_at_10": rank <= 10, "hit_at_k": rank <= 4,
        "accuracy": rank == 1, "probability": np.full(12, 0.5), "kl": np.full(12, 0.25),
    }.items():  # fmt: skip
        means = [values[chosen].mean() for chosen in resamples]
        assert intervals[name] == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_faithfulness_is_resampled_with_its_baselines():
    rng = np.random.default_rng(1)
    full, circuit, complement, empty = (rng.normal(mean, size=15) for mean in (1, 2, 7, 9))
    evaluation = evaluation_of(
        full=run_of(full.tolist()), circuit=run_of(circuit.tolist()), complement=run_of(complement.tolist()),
        empty=run_of(empty.tolist()),
    )  # fmt: skip
    draws = np.random.default_rng(0).multinomial(15, [1 / 15] * 15, size=1000)
    resamples = [np.repeat(np.arange(15), counts) for counts in draws]
    for name, values in {"faithfulness": circuit, "completeness": complement}.items():
        recovered = [
            (values[r].mean() - empty[r].mean()) / (full[r].mean() - empty[r].mean()) for r in resamples
        ]
        low, high = np.percentile(recovered, [2.5, 97.5])
        assert getattr(evaluation, f"{name}_interval") == pytest.approx((low, high))
        assert low < getattr(evaluation, name) < high


def test_completeness():
    assert evaluation_of().completeness == 0.125


def test_nothing_to_keep():
    flat = evaluation_of(empty=run_of([1, 1]), random=(run_of([3, 3]),))
    assert flat.faithfulness is flat.completeness is flat.p_value is flat.faithfulness_interval is None
    assert flat.to_json()["random_faithfulness"] == [None]


@given(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0]), min_size=1, max_size=20), st.sampled_from([1.0, 2.0, 4.0])
)
def test_p_value(metrics, own):
    evaluation = evaluation_of(
        circuit=run_of([own, own]), random=tuple(run_of([value, value]) for value in metrics)
    )
    as_good = sum(value <= own for value in metrics)  # lower is better
    assert evaluation.p_value == (1 + as_good) / (1 + len(metrics))
    if as_good:
        assert evaluation.p_value_text == f"p = {evaluation.p_value:.3f}"
    else:
        assert (
            f"p ≤ {evaluation.p_value:.3f}, the smallest value that {len(metrics)} random"
            in evaluation.describe()
        )
    assert fmean(evaluation.random_faithfulness) == pytest.approx(fmean((9 - value) / 8 for value in metrics))
