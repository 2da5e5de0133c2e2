"""Circuits of the best-scored edges: what is recorded, what scores depend on, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import numpy as np
import pytest

from kcircuits.discovery import (
    EapIg,
    Scorer,
    attribute,
    discover,
    method_and_selection,
    scoring_methods,
    select_circuit,
)
from kcircuits.discovery.by_scores import checked_scores
from kcircuits.discovery.eap import Eap
from kcircuits.errors import KCircuitsError
from kcircuits.graph.paths import prune_mask
from kcircuits.model.loading import Model, load_model
from kcircuits.scores import Scores
from kcircuits.scores.selection import Selection, select
from kcircuits.task import Ablation, Task
from tests.experiments import experiment
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 2, 6])
CASES = [
    (method, ablation)
    for method in scoring_methods()
    for ablation in get_args(Ablation)
    if method != "clean-corrupted" or ablation == "corrupt"
]


@pytest.fixture(scope="module")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("llama_gqa"))


@pytest.mark.parametrize(("method", "ablation"), CASES)
def test_every_method_finds_a_circuit(model, tmp_path, method, ablation):
    file = tmp_path / "scores.safetensors"
    circuit = discover(model, *experiment(PROMPTS, method, ablation=ablation, top_n=80), scores=file)
    scores = attribute(model, *experiment(PROMPTS, method, ablation=ablation))
    assert (circuit.mask() == select(scores.graph, scores.matrix, Selection(top_n=80))).all()
    assert 0 < len(circuit.edges) <= 80
    assert (prune_mask(circuit.graph, circuit.mask()) == circuit.mask()).all()
    assert circuit.edges == scores.edges(circuit.mask())
    assert circuit.metric["full"] != circuit.metric["empty"]
    saved = Scores.load(file)
    assert (saved.matrix == scores.matrix).all()
    assert (saved.method, saved.model, saved.settings) == (method, model.identity, circuit.settings)


def test_what_is_recorded(model):
    circuit = discover(
        model,
        Task(PROMPTS, "corrupt", metric="logit-diff"),
        EapIg(steps=3, qk_fix=True),
        Selection(top_n=60, greedy=True),
    )
    how = {"ablation": "corrupt", "metric": "logit-diff", "fold_value_biases": False, "keep_positions": False}
    chosen = {"top_n": 60, "threshold": None, "absolute": True, "greedy": True, "level": "edge"}
    assert circuit.method == "eap-ig-inputs"
    own = {"ig_steps": 3, "senders": "auto", "num_prompts": 3}
    assert circuit.settings == own | {"qk_fix": True} | chosen | how
    assert circuit.stats.keys() == {"seconds"}
    scores = attribute(model, Task(PROMPTS, "corrupt"), EapIg(steps=3))
    assert scores.settings == own | {"qk_fix": False} | how | {"metric": "nll"}
    assert (scores.method, scores.model) == ("eap-ig-inputs", model.identity)


@pytest.mark.parametrize(
    "selection",
    [
        {"top_n": 40, "greedy": True},
        {"top_n": 120, "absolute": False},
        {"top_n": 5, "level": "node"},
        {"threshold": 0.01},
        {"threshold": 0.0, "absolute": False},
    ],
    ids=str,
)
def test_selections(model, selection):
    options: dict[str, Any] = {"ablation": "corrupt"}
    circuit = discover(model, *experiment(PROMPTS, "eap", **options, **selection))
    scores = attribute(model, *experiment(PROMPTS, "eap", default="corrupt", **options))
    assert (circuit.mask() == select(scores.graph, scores.matrix, Selection(**selection))).all()
    if selection.get("absolute") is False:
        assert all(edge.score >= 0 for edge in circuit.edges)
    if selection.get("level") == "node":
        assert len(circuit.nodes) <= 5 + 2


@pytest.mark.parametrize("method", scoring_methods())
def test_scores_are_means_over_prompts_of_any_lengths(model, method):
    together = attribute(model, *experiment(PROMPTS, method, default="corrupt")).matrix
    alone = [attribute(model, *experiment([prompt], method, default="corrupt")).matrix for prompt in PROMPTS]
    assert np.abs(together - np.mean(alone, axis=0)).max() < 1e-5 * np.abs(together).max()


@pytest.mark.parametrize("ablation", ["zero", "corrupt", "mean", "mean-positional"])
@pytest.mark.parametrize("method", ["eap", "eap-ig-activations", "exact", "ifr"])
def test_scores_do_not_depend_on_memory(model, method, ablation):
    """One byte is room for one prompt and one run at a time; the means are still those of all prompts."""
    plenty = attribute(model, *experiment(PROMPTS, method, ablation=ablation), memory="1GiB").matrix
    scarce = attribute(model, *experiment(PROMPTS, method, ablation=ablation), memory=1).matrix
    assert np.abs(plenty - scarce).max() < 2e-5 * np.abs(plenty).max()


def test_learned_positions_can_be_kept(tiny_folder):
    """Only zero and mean ablation of `input` tell the difference: corrupt prompts have the same positions."""
    gpt2 = load_model(tiny_folder("gpt2"))

    def difference(ablation: str) -> np.ndarray:
        matrices = [
            attribute(gpt2, Task(PROMPTS, ablation, keep_positions=kept), Eap()).matrix
            for kept in (False, True)
        ]
        return np.abs(matrices[0] - matrices[1]).max(axis=1) / np.abs(matrices[0]).max()  # [S]

    assert difference("corrupt").max() < 1e-5
    zero = difference("zero")
    assert zero[0] > 1e-2
    assert zero[1:].max() < 1e-5


@dataclass(frozen=True)
class Constant(Scorer):
    """A scorer whose scores are all the same."""

    name: ClassVar[str] = "constant"
    value: float

    def workspace(self, sizes: Any, memory: int, largest_chunk: int | None = None) -> int:
        return 0

    def scores(self, spec: Any, task: Any, memory: Any, progress: Any) -> np.ndarray:
        return np.where(spec.graph.valid, self.value, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "constant: every score is 0, as ablation changes nothing"),
        (float("nan"), "constant: a score is not finite"),
        (float("inf"), "constant: a score is not finite"),
        (1e39, "constant: a score is not finite"),  # float32 ends before
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_scores_that_say_nothing_are_errors(value, message):
    spec, task = tiny_spec("llama"), Task(PROMPTS, "zero")
    with pytest.raises(KCircuitsError, match=message):
        checked_scores(Constant(value), spec, task, 1, None)
    with pytest.raises(KCircuitsError, match=message):
        discover(Model(spec, None, {}), task, Constant(value), Selection(top_n=5))


def test_nothing_left(model):
    """The one best edge lies on no path, unless it is the edge from end to end."""
    with pytest.raises(KCircuitsError, match=r"nothing is left: of the 1 edges chosen, none lies on a path"):
        discover(model, Task(PROMPTS, "corrupt"), Eap(), Selection(top_n=1))


@pytest.mark.parametrize("changes", [{}, {"fold_value_biases": True, "keep_positions": True}])
def test_a_circuit_from_scores_that_are_there(tiny_folder, changes):
    """What `discover` finds, which scores and selects at once."""
    gpt2 = load_model(tiny_folder("gpt2"))
    scores = attribute(gpt2, *experiment(PROMPTS, "eap-ig-inputs", ablation="zero", ig_steps=2, **changes))
    chosen = {"top_n": 60, "absolute": False}
    task = Task(PROMPTS, "zero", **changes)
    circuit = select_circuit(gpt2, task, scores, Selection(**chosen), seconds=100.0)
    whole = discover(
        gpt2, *experiment(PROMPTS, "eap-ig-inputs", ablation="zero", ig_steps=2, **chosen, **changes)
    )
    assert circuit.edges == whole.edges and circuit.metric == whole.metric
    assert circuit.settings == whole.settings and circuit.method == whole.method
    assert 100 <= circuit.stats["seconds"] < 200


def test_scores_that_do_not_say_how_they_were_computed(model):
    scores = attribute(model, Task(PROMPTS, "corrupt"), Eap())
    bare = replace(scores, settings={"ablation": "corrupt"})
    with pytest.raises(KCircuitsError, match="the scores are of another task: metric is None there"):
        select_circuit(model, Task(PROMPTS, "corrupt"), bare, Selection(top_n=5))
    other = replace(scores, model=scores.model | {"weights_hash": "0" * 64})
    with pytest.raises(KCircuitsError, match="the scores were found in the model"):
        select_circuit(model, Task(PROMPTS, "corrupt"), other, Selection(top_n=5))


SAME = [replace(prompt, corrupt_ids=prompt.clean_ids) for prompt in PROMPTS]


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("eap", {"metric": "kl"}, "eap cannot use the metric kl: it is least at the full model"),
        ("relp", {"metric": "kl"}, "relp cannot use the metric kl"),
        ("clean-corrupted", {"ablation": "zero"}, "clean-corrupted needs corrupt ablation, got zero"),
        ("exact", {"prompts": SAME}, "every corrupt prompt is the same as its clean prompt"),
        (
            "ifr",
            {"prompts": PROMPTS[:1], "ablation": "mean-positional"},
            "all prompts are the same, so the mean of a position",
        ),
        ("eap-ig-inputs", {"ig_steps": 0}, "ig_steps must be a whole number, at least 1; got 0"),
        ("eap-ig-activations", {"ig_steps": 2.0}, r"ig_steps must be a whole number, at least 1; got 2\.0"),
        ("ifr", {"qk_fix": True}, "ifr has no option 'qk_fix'; it has none|its options are"),
        ("acdc", {}, "acdc does not score all edges; methods that do: eap"),
        ("magic", {}, "method must be one of acdc"),
    ],
)
def test_bad_input_is_refused(model, method, changes, message):
    options = {"prompts": PROMPTS, "ablation": "corrupt"} | changes
    with pytest.raises(KCircuitsError, match=message):
        attribute(model, *experiment(method=method, **options))


def test_a_selection_is_needed():
    with pytest.raises(KCircuitsError, match="eap needs a top_n or a threshold"):
        method_and_selection("eap", {"qk_fix": True})
    with pytest.raises(KCircuitsError, match="no option 'steps'; its options are qk_fix, senders, top_n"):
        method_and_selection("eap", {"steps": 3, "top_n": 5})
    made = method_and_selection("eap", {"top_n": 5, "level": "node"})
    assert made == (Eap(), Selection(top_n=5, level="node"))
