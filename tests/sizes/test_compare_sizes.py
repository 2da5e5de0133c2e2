"""Every curve of a comparison against the function that measures it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kcircuits.data.metrics import faithfulness
from kcircuits.discovery import Acdc, Eap, EapIg, EdgePruning, attribute, discover
from kcircuits.discovery.acdc import THRESHOLD_SHARES
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import evaluate, random_curve, size_curve
from kcircuits.sizes import (
    MethodProgress,
    RandomCircuits,
    SizeOptions,
    compare_sizes,
    make_methods,
    methods,
)
from kcircuits.task import Task
from tests.circuits import circuit_of
from tests.experiments import experiment
from tests.sizes.conftest import METHODS, OPTIONS, PROMPTS
from tests.tasks import random_prompts_of

HOW = {"ablation": "corrupt", "metric": "nll"}


def curve_of(comparison, name):
    return next(curve for curve in comparison.curves if curve.name == name)


def numbers(curve):
    return [point.num_edges for point in curve.points], [point.faithfulness for point in curve.points]


def test_curves_come_in_the_order_asked_for(comparison):
    assert [curve.name for curve in comparison.curves] == [method.name for method in METHODS]


def test_the_options_that_all_circuits_have_in_common_are_recorded(comparison):
    recorded = {curve.name: curve.settings for curve in comparison.curves}
    assert recorded["eap"] == {"qk_fix": False, "senders": "auto"}
    assert recorded["acdc"] == {"absolute": False}  # each circuit has a threshold of its own
    assert recorded["edge-pruning"] == {"steps": 15, "learning_rate": 0.3, "seed": 4}
    assert recorded["random"] == {"random_circuits": 3, "seed": 4}
    assert recorded["eap-ig-inputs"]["ig_steps"] == 2


@pytest.mark.parametrize(("name", "own"), [("eap", {}), ("eap-ig-inputs", {"ig_steps": 2})])
def test_methods_that_score_are_size_curves(model, comparison, name, own):
    scores = attribute(model, *experiment(PROMPTS, name, default="corrupt", **HOW, **own))
    expected = size_curve(model, Task.as_found(scores, PROMPTS), scores, fractions=OPTIONS.fractions)
    curve = curve_of(comparison, name)
    assert numbers(curve) == (list(expected.num_edges), list(expected.faithfulness))
    assert (curve.cpr, curve.cmd) == (expected.cpr, expected.cmd)
    assert curve.seconds > 0


def test_random_is_the_mean_over_seeds_with_its_range(model, comparison):
    graph = model.spec.graph
    nothing = circuit_of(graph, model=model.identity, settings=HOW)
    seeds = [4, 5, 6]
    expected = random_curve(
        model, Task.as_found(nothing, PROMPTS), nothing, seeds=seeds, fractions=OPTIONS.fractions
    )
    curve = curve_of(comparison, "random")
    assert numbers(curve)[0] == list(expected.num_edges)
    assert numbers(curve)[1] == pytest.approx(expected.faithfulness, abs=1e-6)
    assert curve.cpr == pytest.approx(expected.cpr, abs=1e-6)
    singles = [
        random_curve(
            model, Task.as_found(nothing, PROMPTS), nothing, seeds=[seed], fractions=OPTIONS.fractions
        ).faithfulness
        for seed in seeds
    ]
    for point, values in zip(curve.points, zip(*singles, strict=True), strict=True):
        assert point.spread == (min(values), max(values))
    assert curve.seconds is None


@pytest.mark.parametrize(
    ("name", "searches"),
    [
        ("acdc", [{"threshold": 0.5}, {"threshold": 0.01}]),
        ("edge-pruning", [{"fraction": 0.1}, {"fraction": 0.5}]),
    ],
)
def test_each_search_is_a_point(model, comparison, name, searches):
    curve = curve_of(comparison, name)
    assert len(curve.points) == len(searches)
    for point, search in zip(curve.points, searches, strict=True):
        options = dict(search)
        if "fraction" in search:
            total = model.spec.graph.num_edges
            options = {"top_n": int(search["fraction"] * total), "steps": 15, "seed": 4}
        circuit = discover(model, *experiment(PROMPTS, name, **HOW, **options))
        assert point.num_edges == len(circuit.edges)
        assert point.threshold == search.get("threshold")
        measured = evaluate(model, Task.as_found(circuit, PROMPTS), circuit, random_circuits=0)
        assert point.faithfulness == pytest.approx(measured.faithfulness, abs=1e-4)
    assert curve.cpr is curve.cmd is None


def test_thresholds_follow_the_range_of_the_metric(model):
    comparison = compare_sizes(model, Task(PROMPTS, "zero"), [Acdc()])
    span = abs(comparison.empty - comparison.full)
    points = comparison.curves[0].points
    assert [point.threshold for point in points] == pytest.approx([x * span for x in THRESHOLD_SHARES])


def test_a_size_through_which_no_path_leads_is_an_empty_circuit(model):
    options = replace(OPTIONS, pruning_fractions=(0.005,))  # less than one edge, so one is asked for
    with pytest.raises(KCircuitsError, match="nothing is left"):
        discover(model, Task(PROMPTS, "corrupt"), EdgePruning(top_n=1, steps=1, seed=4))
    method = EdgePruning(steps=1, seed=4)
    (curve,) = compare_sizes(model, Task(PROMPTS, "corrupt"), [method], options=options).curves
    assert numbers(curve) == ([0], [0.0])


@pytest.mark.parametrize("fold", [False, True])
def test_how_it_is_measured(model, tiny_folder, fold):
    from kcircuits.model.loading import load_model

    gpt2 = load_model(tiny_folder("gpt2"))
    how = {"ablation": "mean", "metric": "logit-diff", "fold_value_biases": fold, "keep_positions": True}
    reference = PROMPTS[:1]
    options = SizeOptions(fractions=(0.1, 1.0))
    task = Task(PROMPTS, reference=reference, **how)
    made = compare_sizes(gpt2, task, [Eap(), RandomCircuits(2)], options=options)
    scores = attribute(gpt2, *experiment(PROMPTS, "eap", default="corrupt", reference=reference, **how))
    expected = size_curve(
        gpt2, Task.as_found(scores, PROMPTS, reference=reference), scores, fractions=(0.1, 1.0)
    )
    assert numbers(made.curves[0])[1] == list(expected.faithfulness)
    assert (made.full, made.empty) == pytest.approx((expected.full.mean(), expected.empty.mean()), abs=1e-5)
    chance = random_curve(
        gpt2, Task.as_found(scores, PROMPTS, reference=reference), scores, seeds=[0, 1], fractions=(0.1, 1.0)
    )
    assert numbers(made.curves[1])[1] == pytest.approx(chance.faithfulness, abs=1e-6)
    assert made.settings["fold_value_biases"] is fold
    assert made.settings["num_prompts"] == 3
    assert faithfulness(made.full, made.full, made.empty) == 1


def test_progress_rises_to_the_end(model):
    seen: list[MethodProgress] = []
    compared = [RandomCircuits(), Acdc(), Eap()]
    compare_sizes(model, Task(PROMPTS, "corrupt"), compared, options=OPTIONS, progress=seen.append)
    shares = [done.share for done in seen]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert list(dict.fromkeys(done.method for done in seen)) == ["random", "acdc", "eap"]
    assert seen[0].place == "random"
    assert any(done.place.startswith("acdc: layer") for done in seen)
    assert seen[-1].figures(1.0) == "2 of 3 methods"


@pytest.mark.parametrize(
    ("compared", "how", "message"),
    [
        ([], {}, "there are no methods to compare"),
        (["magic"], {}, r"a method must be an object such as kcircuits\.EapIg\(\) or .*, got 'magic'"),
        ("eap", {}, "a method must be an object such as .*, got 'eap'"),
        ([Eap], {}, "a method must be an object such as .*, got <class"),
        ([EapIg(2), EapIg(3)], {}, "the method 'eap-ig-inputs' occurs twice"),
        ([RandomCircuits(), Eap()], {"task": Task(PROMPTS, metric="kl")}, "eap cannot use the metric kl"),
        ([RandomCircuits()], {"memory": "lots"}, "memory must be"),
        ([RandomCircuits()], {"task": PROMPTS}, "task must be a Task, got"),
    ],
)
def test_bad_input(model, monkeypatch, compared, how, message):
    monkeypatch.setattr(methods, "random_curve", lambda *_, **__: pytest.fail("work has begun"))
    with pytest.raises(KCircuitsError, match=message):
        compare_sizes(model, how.get("task", Task(PROMPTS)), compared, memory=how.get("memory"))


def test_methods_by_name_have_those_of_the_options_that_are_theirs():
    given = {"steps": 7, "ig_steps": 2, "random_circuits": 4, "seed": 3}
    names = ["random", "eap-ig-inputs", "edge-pruning", "eap", "acdc"]
    expected = (RandomCircuits(4, 3), EapIg(steps=2), EdgePruning(steps=7, seed=3), Eap(), Acdc())
    assert make_methods(names, given) == expected
    with pytest.raises(KCircuitsError, match=r"a method must be one of acdc, .*, random; got 'magic'"):
        make_methods(["magic"], given)
    with pytest.raises(KCircuitsError, match="steps must be a whole number"):
        make_methods(["eap"], {"steps": 0})


def test_without_a_range_there_is_nothing_to_compare(model):
    one_token = random_prompts_of([1])  # its mean is what is there already
    with pytest.raises(KCircuitsError, match="ablating every edge leaves the metric kl at"):
        compare_sizes(model, Task(one_token, "mean", metric="kl"), [RandomCircuits(), Acdc()])
    same = [replace(prompt, corrupt_ids=prompt.clean_ids) for prompt in PROMPTS]
    with pytest.raises(KCircuitsError, match="every corrupt prompt is the same as its clean prompt"):
        compare_sizes(model, Task(same, "corrupt"), [RandomCircuits(), Acdc()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.5,)}, "fractions must be at least two, rising"),
        ({"fractions": (0.5, 0.2)}, "fractions must be at least two, rising"),
        ({"fractions": (0.5, 1.5)}, "above 0 and at most 1"),
        ({"fractions": (0.0, 0.5)}, "above 0 and at most 1"),
        ({"pruning_fractions": ()}, "pruning_fractions must be at least one, rising"),
        ({"thresholds": ()}, "thresholds must be numbers"),
        ({"thresholds": (0.1, -1)}, "thresholds must be numbers"),
        ({"thresholds": (float("nan"),)}, "thresholds must be numbers"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(KCircuitsError, match=message):
        SizeOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "the number of random_circuits must be a whole number, at least 1; got 0"),
        ({"count": 2.0}, "the number of random_circuits must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
    ],
)
def test_bad_random_circuits(options, message):
    with pytest.raises(KCircuitsError, match=message):
        RandomCircuits(**options)
