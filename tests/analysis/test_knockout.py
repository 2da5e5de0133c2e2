"""Knockouts: the runs are those of the masks, on all prompts, beside random ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import kcircuits
from kcircuits.analysis.knockout.reading import knockout
from kcircuits.analysis.knockout.results import Knockout
from kcircuits.analysis.knockout.text_windows import RunningText, text_perplexity, windows_of
from kcircuits.circuit import Circuit
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import evaluate
from kcircuits.task import Task
from tests.analysis.models import PROMPTS, model_of, some_circuit
from tests.circuits import circuit_of, identity_for
from tests.data.tiny_tokenizers import word_tokenizer
from tests.tasks import random_prompts_of, reference_runs

MODEL = model_of("llama_gqa")
GRAPH = MODEL.spec.graph
WORDED = replace(MODEL, tokenizer=word_tokenizer(" ".join(f"w{number}" for number in range(50)), bos=True))
CIRCUIT = circuit_of(
    GRAPH, "input->a0.h1<v>", "a0.h1->m1", "m1->logits", "input->m2", "m2->logits",
    settings={"ablation": "zero"},
)  # fmt: skip
OTHER = circuit_of(GRAPH, "input->m2", "m2->logits", "input->a2.h0<q>")
OTHERS = {"far": random_prompts_of([3, 6], seed=5), "near": random_prompts_of([2], seed=6)}
OWN = Task(PROMPTS, "zero")
TEXT = "w1 w2 w3 w10 w20 w30 w4"


@pytest.fixture(scope="module")
def made() -> Knockout:
    return knockout(
        WORDED, OWN, CIRCUIT, others=OTHERS, text=RunningText(TEXT), random_circuits=3, seed=2, hit_k=4
    )


def nll_of(mask: np.ndarray, prompts) -> list[float]:
    task = Task(tuple(prompts), "zero")
    logits = reference_runs(MODEL.spec, task)(mask)
    answers = torch.tensor([prompt.answer_id for prompt in prompts])
    return (-logits.log_softmax(-1)[torch.arange(len(prompts)), answers]).tolist()


def test_it_is_in_the_package():
    assert kcircuits.knockout is knockout


def test_runs_are_the_model_without_the_edges(made):
    assert [effect.name for effect in made.effects] == ["own", "far", "near"]
    removed = CIRCUIT.mask()
    drawn = [random_connected_mask(GRAPH, 5, np.random.default_rng(seed)) for seed in (2, 3, 4)]
    for effect, prompts in zip(made.effects, [PROMPTS, *OTHERS.values()], strict=True):
        assert effect.full.metric == pytest.approx(nll_of(GRAPH.valid, prompts), rel=1e-4)
        assert effect.knockout.metric == pytest.approx(nll_of(GRAPH.valid & ~removed, prompts), rel=1e-4)
        assert len(effect.random) == 3
        for run, mask in zip(effect.random, drawn, strict=True):
            assert run.metric == pytest.approx(nll_of(GRAPH.valid & ~mask, prompts), rel=1e-4)


def test_own_prompts_are_what_evaluate_measures(made):
    expected = evaluate(MODEL, Task.as_found(CIRCUIT, PROMPTS, metric="nll"), CIRCUIT, random_circuits=0)
    own = made.effects[0]
    for run, measured in ((own.full, expected.full), (own.knockout, expected.complement)):
        assert run.rank == measured.rank
        np.testing.assert_allclose(run.probability, measured.probability, rtol=1e-5)


def test_the_text(made):
    assert made.text is not None
    windows = windows_of(WORDED.tokenizer, TEXT, MODEL.spec, 100)
    masks = np.stack([GRAPH.valid, GRAPH.valid & ~CIRCUIT.mask()])
    expected = text_perplexity(MODEL.spec, Task(windows.prompts, "zero"), windows, masks, 2**30)
    assert (made.text.full, made.text.knockout) == pytest.approx(expected, rel=1e-5)
    assert made.text.num_tokens == 7
    assert len(made.text.random) == 3
    short = knockout(WORDED, OWN, CIRCUIT, text=RunningText(TEXT, tokens=3), random_circuits=0)
    assert short.text is not None
    assert (short.text.num_tokens, short.text.random) == (3, ())


def test_only_private_edges_are_removed():
    made = knockout(MODEL, OWN, CIRCUIT, private_of=[OTHER], random_circuits=1)
    private = CIRCUIT.difference(OTHER)
    assert made.settings["num_circuit_edges"] == 5
    assert made.settings["num_removed_edges"] == len(private.edges) == 3
    without = nll_of(GRAPH.valid & ~private.mask(), PROMPTS)
    assert made.effects[0].knockout.metric == pytest.approx(without, rel=1e-4)
    drawn = random_connected_mask(GRAPH, 3, np.random.default_rng(0))
    random = nll_of(GRAPH.valid & ~drawn, PROMPTS)
    assert made.effects[0].random[0].metric == pytest.approx(random, rel=1e-4)


@pytest.mark.parametrize("ablation", ["mean", "mean-positional"])
def test_means_are_over_the_circuit_s_own_prompts(ablation):
    made = knockout(
        WORDED, Task(PROMPTS, ablation), CIRCUIT, others={"near": OTHERS["near"]},
        text=RunningText("w1 w2 w3"), random_circuits=0,
    )  # fmt: skip
    task = Task(OTHERS["near"], ablation, reference=PROMPTS)
    logits = reference_runs(MODEL.spec, task)(GRAPH.valid & ~CIRCUIT.mask())
    expected = -logits.log_softmax(-1)[0, OTHERS["near"][0].answer_id]
    assert made.effects[1].knockout.metric[0] == pytest.approx(float(expected), rel=1e-4)


def test_it_is_measured_as_the_circuit_was_found():
    circuit = some_circuit(MODEL)
    made = knockout(MODEL, Task.as_found(circuit, PROMPTS), circuit, random_circuits=0)
    assert made.settings["ablation"] == "corrupt"
    assert made.effects[0].random == ()
    assert made.text is None


def test_the_measure_is_the_nll_whatever_the_metric(made):
    other = knockout(MODEL, replace(OWN, metric="kl"), CIRCUIT, random_circuits=3, seed=2, hit_k=4)
    assert other.effects[0] == made.effects[0]


def test_table(made):
    table = made.table()
    assert len(table) == 4 * 5
    assert table["run"].tolist()[:5] == ["full", "knockout", "random 1", "random 2", "random 3"]
    row = table[(table["prompts"] == "far") & (table["run"] == "knockout")].iloc[0]
    assert row["nll"] == made.effects[1].knockout.mean_metric
    assert row["hit_at_k"] == made.effects[1].knockout.hit_at(4)
    assert made.text is not None
    assert table["perplexity"].dropna().tolist() == [made.text.full, made.text.knockout, *made.text.random]


def test_json(made, tmp_path):
    made.save(tmp_path / "knockout.json")
    document = json.loads((tmp_path / "knockout.json").read_text())
    assert document == made.to_json()
    assert document["format"] == "kcircuits-knockout/1"
    assert document["settings"] == {
        "ablation": "zero", "num_prompts": 3, "num_circuit_edges": 5, "num_removed_edges": 5, "hit_k": 4,
        "seed": 2, "text_window": 64,
    }  # fmt: skip
    far = document["effects"][1]
    assert (far["prompts"], far["num_prompts"], len(far["random"])) == ("far", 2, 3)
    assert far["knockout"]["per_prompt"]["metric"] == list(made.effects[1].knockout.metric)
    assert document["text"]["num_tokens"] == 7


FOREIGN = Circuit(GRAPH, identity_for(GRAPH, "other", "1" * 64), "acdc", {}, {}, OTHER.edges, {})
NO_CORRUPT = tuple(replace(prompt, corrupt_ids=None) for prompt in PROMPTS)
LONG = (replace(PROMPTS[0], clean_ids=(1,) * 65, corrupt_ids=None, subject=None),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"circuit": circuit_of(GRAPH)}, "nothing to remove: the circuit has no edges$"),
        (
            {"private_of": [OTHER, CIRCUIT]},
            "the circuit has no edges of its own: the others have all of them",
        ),
        ({"circuit": FOREIGN}, "the circuit was found in the model 'other'"),
        ({"private_of": [FOREIGN]}, "the circuit was found in the model 'other'"),
        ({"task": PROMPTS}, r"task must be a Task, got \(Prompt.*: write "),
        ({"task": Task(LONG)}, "prompt 1: the prompt has 65 tokens, but the model has 64 positions"),
        ({"others": {"far": ()}}, "far: there are no prompts"),
        ({"others": {"far": LONG}}, "far: prompt 1: the prompt has 65 tokens"),
        ({"others": {"own": PROMPTS}}, "other prompts must not be named 'own'"),
        ({"others": {"text": PROMPTS}}, "other prompts must not be named 'text'"),
        (
            {"others": {"far": NO_CORRUPT}, "task": Task(PROMPTS, "corrupt")},
            "far: corrupt ablation needs a corrupt prompt",
        ),
        (
            {"text": RunningText(TEXT), "task": Task(PROMPTS, "corrupt")},
            "a text has no corrupt prompts: use zero or mean ablation",
        ),
        ({"text": RunningText(" ")}, "'text' is empty"),
        ({"text": TEXT}, "text must be a RunningText, got 'w1 w2 .*': write kcircuits.RunningText"),
        (
            {"text": RunningText(TEXT), "model": MODEL},
            "this model has no tokenizer, so it cannot read a text",
        ),
        (
            {"text": RunningText(TEXT * 3), "task": Task(PROMPTS, "mean-positional")},
            "text: mean-positional ablation has means for the 5",
        ),
        ({"random_circuits": -1}, "random_circuits must be a whole number, at least 0; got -1"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"hit_k": 0}, "hit_k must be a whole number, at least 1; got 0"),
        ({"memory": "lots"}, "memory must be"),
    ],
)
def test_bad_input(options, message, monkeypatch):
    monkeypatch.setattr(
        "kcircuits.analysis.knockout.reading.measure_runs", lambda *_: pytest.fail("work has begun")
    )
    given = {"model": WORDED, "task": OWN, "circuit": CIRCUIT} | options
    with pytest.raises(KCircuitsError, match=message):
        knockout(**given)
