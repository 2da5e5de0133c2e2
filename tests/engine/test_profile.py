"""Where the time goes: the engine's work adds up, and products have the operations they do."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from kcircuits._native import C
from kcircuits.discovery.acdc import Acdc
from kcircuits.engine import Engine, measure
from kcircuits.engine.profile import Profile, Work, profile_call
from kcircuits.errors import KCircuitsError
from kcircuits.task import Task
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

LAYERS, HEADS, WIDTH, HIDDEN, VOCABULARY = 3, 4, 32, 48, 61
LENGTH = 5


@pytest.fixture(scope="module")
def task():
    return Task(random_prompts_of([LENGTH]), "zero", "nll")


@pytest.fixture(scope="module")
def spec():
    return tiny_spec("llama")


def search(spec, task):
    return Acdc(0.001).search(spec, task, 2**30, None)


def test_the_work_adds_up_to_the_time(spec, task):
    search(spec, task)  # what is only made once is not the search's
    found, profile = profile_call(lambda: search(spec, task))
    assert found.edges
    recorded = sum(work.seconds for work in profile.work)
    assert 0.8 * profile.seconds <= recorded <= profile.seconds
    assert profile.python_seconds == pytest.approx(profile.seconds - recorded)
    assert {work.op for work in profile.work} == {
        "edge mix", "attention", "MLP", "vocabulary", "gradients", "other"
    }  # fmt: skip
    assert {work.layer for work in profile.work} == {None, *range(LAYERS + 1)}
    assert all(work.seconds >= 0 and work.calls > 0 for work in profile.work)


def test_products_do_the_operations_of_a_forward_pass(spec, task):
    """A masked run of the full circuit projects every receiver's own stream, and runs each MLP once."""
    engine = Engine(spec, task)
    full = spec.graph.valid[None]
    _, profile = profile_call(lambda: engine.metric(engine.masked_rows(full, 2**30)))
    flop = {name: total.flop for name, total in profile.products().by(lambda work: work.op).items()}
    assert flop == {
        "attention": LAYERS * 2 * LENGTH * 4 * WIDTH * WIDTH,
        "MLP": LAYERS * 2 * LENGTH * 3 * WIDTH * HIDDEN,
        "vocabulary": 2 * WIDTH * VOCABULARY,
    }
    mlp = [work for work in profile.products().work if work.op == "MLP"]
    assert sorted((work.layer, work.rows) for work in mlp) == [(layer, 8) for layer in range(LAYERS)]
    # Two products, each [5, 32] by [48, 32], in one; and one back.
    numbers = 3 * WIDTH * HIDDEN + 2 * (LENGTH * WIDTH + LENGTH * HIDDEN) + LENGTH * (HIDDEN + WIDTH)
    assert mlp[0].bytes == 4 * numbers


def test_edge_mixes_do_their_additions(spec, task):
    engine = Engine(spec, task)
    only = np.zeros_like(spec.graph.valid)
    only[0, spec.graph.receivers.index("logits")] = True
    _, profile = profile_call(lambda: engine.masked_rows(only[None], 2**30))
    mix = [work for work in profile.work if work.op == "edge mix"]
    assert sum(work.flop for work in mix) == LENGTH * WIDTH
    assert not profile.products().work


@pytest.mark.parametrize("method", ["eap", "exact", "relp", "edge-pruning"])
def test_other_methods_are_recorded(spec, method):
    from kcircuits.discovery.methods import class_of, method_of

    task = Task(random_prompts_of([LENGTH, 3]), "corrupt", "nll")
    made = method_of(method, {"steps": 2, "top_n": 20} if method == "edge-pruning" else {})
    run = made.scores if class_of(method).scores_all_edges else made.search
    found, profile = profile_call(lambda: run(spec, task, 2**30, None))
    assert found is not None
    assert {"attention", "MLP"} <= {work.op for work in profile.products().work}
    if method != "exact":
        assert any(work.op == "gradients" and work.products for work in profile.work)


def test_nothing_is_recorded_outside(spec, task):
    measure(spec, task, spec.graph.valid[None], 2**30)
    _, profile = profile_call(lambda: None)
    assert profile.work == ()
    with pytest.raises(RuntimeError, match="not started"):
        C.stop_profile()


def test_an_error_ends_the_recording(spec, task):
    def fail():
        measure(spec, task, spec.graph.valid[None], 2**30)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        profile_call(fail)
    assert profile_call(lambda: 1)[0] == 1


def test_a_profile_within_a_profile_is_refused():
    with pytest.raises(KCircuitsError, match="already"):
        profile_call(lambda: profile_call(lambda: None))


def test_the_gemm_speed_is_one_that_this_machine_reaches():
    _, profile = profile_call(lambda: None)
    start = perf_counter()
    import torch

    x, w = torch.ones(2048, 576), torch.ones(1536, 576)
    C.cpu_linear(x, w)
    once = 2 * x.size(0) * w.size(0) * w.size(1) / (perf_counter() - start)
    assert once / 10 < profile.gemm_flops < once * 100


def test_shares_of_fast_products():
    def product(seconds, flop):
        return Work("MLP", True, 0, 8, 1, seconds, flop, 1.0)

    rest = Work("MLP", False, 0, 0, 1, 1.0, 100.0, 1.0)
    profile = Profile((product(2.0, 20.0), product(3.0, 15.0), rest), 10.0, 10.0)
    assert profile.products_share() == pytest.approx(0.5)
    assert profile.products_share(0.7) == pytest.approx(0.2)
    assert profile.python_seconds == pytest.approx(4.0)
