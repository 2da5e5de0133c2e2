"""Gradient scores from several workers are those from one, bit for bit."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from kcircuits.discovery import Acdc, Eap, EapIg, attribute, discover
from kcircuits.discovery.parts import joined_scores, parts_of, scores_of_part
from kcircuits.engine import Engine, portions
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from kcircuits.scores import Scores
from kcircuits.scores.selection import Selection
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.experiments import experiment
from tests.models import as_dtype, tiny_spec
from tests.tasks import random_prompts_of

MEMORY = 2**28
PROMPTS = random_prompts_of([5, 3, 7, 2, 6, 4, 3, 8, 5, 1, 6, 2, 7])


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(portions, "PART_TOKENS", 9)


def tiny(name: str) -> Model:
    spec = tiny_spec(name)
    return Model(spec, None, identity_for(spec.graph) | {"weights_hash": name})


def of_workers(model: Model, workers: int, method: str, **options: Any) -> Scores:
    """Every worker takes each n-th part; what they have done comes in any order."""
    numbers = range(len(parts_of(PROMPTS)))
    done = [
        scores_of_part(
            model, *experiment(PROMPTS, method, default="corrupt", **options), part=number, memory=MEMORY
        )
        for worker in range(workers)
        for number in numbers[worker::workers]
    ]
    random.Random(workers).shuffle(done)
    return joined_scores(done)


def test_parts_depend_on_the_prompts_alone():
    cut = parts_of(PROMPTS)
    assert [[len(prompt.clean_ids) for prompt in part] for part in cut] == [
        [5, 3],
        [7, 2],
        [6],
        [4, 3],
        [8],
        [5, 1],
        [6, 2],
        [7],
    ]
    assert sum(cut, ()) == PROMPTS
    long = random_prompts_of([12, 12])
    assert parts_of(long) == ((long[0],), (long[1],))


METHODS: list[tuple[str, dict[str, Any]]] = [
    ("eap", {}),
    ("eap", {"qk_fix": True, "ablation": "mean"}),
    ("eap-ig-inputs", {"ig_steps": 3, "metric": "logit-diff"}),
    ("eap-ig-inputs", {"ablation": "mean-positional", "metric": "kl"}),
    ("eap-ig-activations", {"ig_steps": 2, "ablation": "zero"}),
    ("clean-corrupted", {"keep_positions": True}),
    ("relp", {"senders": "recomputed", "fold_value_biases": True}),
]


@pytest.mark.parametrize(("method", "options"), METHODS)
@pytest.mark.parametrize("name", ["gpt2", "llama_gqa"])
def test_any_number_of_workers_gives_the_same_bits(name, method, options):
    model = tiny(name)
    alone = attribute(model, *experiment(PROMPTS, method, default="corrupt", **options), memory=MEMORY)
    for workers in (1, 2, 3, 5):
        joined = of_workers(model, workers, method, **options)
        assert (joined.matrix == alone.matrix).all()
        assert (joined.method, joined.settings, joined.model) == (method, alone.settings, alone.model)


def test_the_bits_are_those_of_discover(tmp_path):
    model = tiny("llama_gqa")
    path = tmp_path / "scores.safetensors"
    discover(model, Task(PROMPTS, "corrupt"), Eap(), Selection(top_n=20), scores=path, memory=MEMORY)
    assert (Scores.load(path).matrix == of_workers(model, 3, "eap").matrix).all()


# In float32, prompts in other batches are rounded otherwise.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 5e-6)])
@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gpt_neox", "gemma2"])
def test_the_mean_is_that_of_one_engine(name, dtype, tolerance):
    model = tiny(name)
    model = replace(model, spec=as_dtype(model.spec, dtype))
    whole = Engine(model.spec, Task(PROMPTS, "corrupt")).path_scores(
        [1.0], rule="gradient", qk_fix=False, memory=MEMORY, progress=None
    )
    expected = whole.numpy() / len(PROMPTS)
    largest = np.abs(expected).max()
    assert largest > 1e-2
    ours = of_workers(model, 2, "eap").matrix
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * largest)


def test_a_part_is_scored_as_if_it_were_alone():
    model = tiny("gpt2")
    part = parts_of(PROMPTS)[1]
    ours = scores_of_part(model, Task(PROMPTS, "corrupt"), Eap(), 1, memory=MEMORY)
    assert (ours.matrix == attribute(model, Task(part, "corrupt"), Eap(), memory=MEMORY).matrix).all()


def test_parts_survive_files(tmp_path):
    model = tiny("gpt2")
    for number in range(8):
        scores_of_part(model, Task(PROMPTS, "corrupt"), Eap(), number, memory=MEMORY).save(
            tmp_path / f"{number}.safetensors"
        )
    read = [Scores.load(path) for path in tmp_path.iterdir()]
    joined = joined_scores(read)
    assert (joined.matrix == attribute(model, Task(PROMPTS, "corrupt"), Eap(), memory=MEMORY).matrix).all()
    assert "part" not in joined.settings


def test_parts_that_do_not_fit_come_in_portions():
    """The same for all, as long as they have the same memory."""
    model = tiny("llama_gqa")
    done = [scores_of_part(model, Task(PROMPTS, "corrupt"), Eap(), number, memory=1) for number in range(8)]
    tight = attribute(model, Task(PROMPTS, "corrupt"), Eap(), memory=1)
    assert (joined_scores(done).matrix == tight.matrix).all()
    roomy = attribute(model, Task(PROMPTS, "corrupt"), Eap(), memory=MEMORY)
    np.testing.assert_allclose(tight.matrix, roomy.matrix, rtol=0, atol=1e-6)


def test_progress_counts_the_part():
    seen = []
    scores_of_part(tiny("gpt2"), Task(PROMPTS, "corrupt"), EapIg(), 0, memory=MEMORY, progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (10, 10)


@pytest.fixture(scope="module")
def done() -> list[Scores]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "PART_TOKENS", 9)
        return [
            scores_of_part(tiny("gpt2"), Task(PROMPTS, "corrupt"), Eap(), number, memory=MEMORY)
            for number in range(8)
        ]


def test_what_cannot_be_joined(done):
    with pytest.raises(KCircuitsError, match="no scores of parts"):
        joined_scores([])
    with pytest.raises(KCircuitsError, match="part 2 of 8 are missing"):
        joined_scores(done[:2] + done[3:])
    with pytest.raises(KCircuitsError, match="part 3 are there twice"):
        joined_scores([*done, done[3]])
    with pytest.raises(KCircuitsError, match="not the scores of a part"):
        joined_scores([attribute(tiny("gpt2"), Task(PROMPTS, "corrupt"), Eap(), memory=MEMORY)])
    odd = done[0].settings["part"] | {"number": 8}
    with pytest.raises(KCircuitsError, match="not the scores of a part"):
        joined_scores([replace(done[0], settings=done[0].settings | {"part": odd}), *done[1:]])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"memory": 2**27}, "memory is 268435456 for part 0 and 134217728 for 7"),
        ({"metric": "logit-diff"}, "metric is 'nll' for part 0 and 'logit-diff' for 7"),
        ({"prompts": PROMPTS[:-1] + PROMPTS[-2:-1]}, "prompts is "),
        ({"method": "relp"}, "method is 'eap' for part 0 and 'relp' for 7"),
        ({"model": tiny("llama")}, "model is 'gpt2' for part 0 and 'llama' for 7"),
    ],
)
def test_parts_of_different_searches(done, changes, named):
    given = {"model": tiny("gpt2"), "prompts": PROMPTS, "method": "eap", "memory": MEMORY} | changes
    model, memory = given.pop("model"), given.pop("memory")
    part = len(parts_of(given["prompts"])) - 1
    stranger = scores_of_part(model, *experiment(default="corrupt", **given), part=part, memory=memory)
    with pytest.raises(KCircuitsError, match=named):
        joined_scores([*done[:7], stranger])


def test_what_is_refused():
    model = tiny("gpt2")
    for part in (-1, 8, True, "0"):
        with pytest.raises(KCircuitsError, match="part must be a whole number from 0 to 7"):
            scores_of_part(model, Task(PROMPTS, "corrupt"), Eap(), part, memory=MEMORY)
    for method in ("ifr", "exact"):
        with pytest.raises(KCircuitsError, match="parts are for gradient methods"):
            scores_of_part(model, *experiment(PROMPTS, method, default="corrupt"), part=0, memory=MEMORY)
    with pytest.raises(KCircuitsError, match="acdc does not score all edges"):
        scores_of_part(model, Task(PROMPTS, "corrupt"), Acdc(), 0, memory=MEMORY)
