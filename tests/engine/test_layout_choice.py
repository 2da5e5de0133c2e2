"""Which layout is chosen, and what it is said to take."""

from __future__ import annotations

import pytest

from kcircuits.discovery import attribute, discover
from kcircuits.engine import Engine
from kcircuits.engine.layouts import placement_for_circuits, placement_for_scores
from kcircuits.engine.portions import engine_bytes_per_token, portions
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.covers import pairwise
from tests.experiments import experiment
from tests.models import BUILDERS, tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 3, 5, 2])


@pytest.mark.parametrize("place", [placement_for_scores, placement_for_circuits])
def test_the_first_that_fits_is_chosen(place):
    spec = tiny_spec("llama_gqa")
    roomy, tight = place(spec, PROMPTS, 2**30, True), place(spec, PROMPTS, 1, True)
    assert (roomy.layout, tight.layout) == ("memory", "recomputed")
    fits = 5 * (engine_bytes_per_token(spec, True) + roomy.beside)
    assert place(spec, PROMPTS, fits, True).layout == "memory"
    assert place(spec, PROMPTS, fits - 1, True).layout == "recomputed"


def test_rounding_is_never_chosen():
    spec = tiny_spec("llama_gqa")
    chosen = {placement_for_scores(spec, PROMPTS, 2**power, True).layout for power in range(31)}
    assert chosen == {"memory", "recomputed"}
    assert placement_for_scores(spec, PROMPTS, 2**30, True, "bfloat16").layout == "bfloat16"


def test_portions_take_what_is_beside_the_engine_into_account():
    spec = tiny_spec("llama_gqa")
    place = placement_for_scores(spec, PROMPTS, 1, True)
    memory = 8 * (engine_bytes_per_token(spec, True, "recomputed") + place.beside)
    cut = portions(spec, PROMPTS, memory, kept=True, **vars(place))
    assert [[len(p.clean_ids) for p in portion] for portion in cut] == [[5, 3], [5, 2]]


@pairwise(
    name=sorted(BUILDERS.keys() - {"gemma2"}),  # its soft cap: numbers by prompt
    ablation=["zero", "corrupt"],
    layout=["recomputed", "bfloat16"],
)
def test_an_engine_takes_what_is_said(name, ablation, layout):
    spec = tiny_spec(name)
    said = 15 * engine_bytes_per_token(spec, ablation != "zero", layout)
    assert 0.9 * said <= Engine(spec, Task(PROMPTS, ablation), layout=layout).bytes <= 1.05 * said


@pytest.mark.parametrize("method", ["eap", "eap-ig-activations", "relp", "clean-corrupted"])
def test_the_scores_of_a_method_do_not_depend_on_the_layout(method):
    spec = tiny_spec("llama_gqa")
    model = Model(spec, None, identity_for(spec.graph))
    exact = attribute(model, *experiment(PROMPTS, method, default="corrupt", senders="memory"))
    largest = float(abs(exact.matrix).max())
    for options, memory in (({"senders": "recomputed"}, None), ({}, 1)):
        asked = experiment(PROMPTS, method, default="corrupt", **options)
        ours = attribute(model, *asked, memory=memory)
        assert ours.matrix == pytest.approx(exact.matrix, abs=2e-6 * largest)
    assert ours.settings["senders"] == "auto"


@pytest.mark.parametrize(
    ("method", "senders", "message"),
    [
        ("acdc", "recomputed", "acdc has no option 'senders'"),
        ("exact", "recomputed", "exact has no option 'senders'"),
        ("edge-pruning", "bfloat16", "edge-pruning has no option 'senders'"),
        ("eap", "disk", "senders must be one of auto, memory, bfloat16, host, recomputed; got 'disk'"),
        ("eap", "host", "the model is on the CPU"),
    ],
)
def test_bad_input(method, senders, message):
    spec = tiny_spec("llama")
    options = {"threshold": 0.1} if method == "acdc" else {"top_n": 5}
    with pytest.raises(KCircuitsError, match=message):
        discover(Model(spec, None, {}), *experiment(PROMPTS, method, senders=senders, **options))
