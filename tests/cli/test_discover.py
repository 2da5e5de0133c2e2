"""`kcircuits discover`: what it writes and says."""

from __future__ import annotations

import json

import pytest
import torch

from kcircuits.circuit import Circuit
from kcircuits.circuit.drawing import dot_available
from kcircuits.cli import results
from kcircuits.data.halves import split_halves
from kcircuits.data.prompts import read_prompts, tokenise
from kcircuits.data.relations import load_relation, relation_prompts
from kcircuits.discovery import Acdc, Eap, attribute, discover, scoring_methods
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import answer_ranks
from kcircuits.model.loading import load_model
from kcircuits.scores import Scores
from kcircuits.task import Task
from tests.cli.conftest import WORDS
from tests.data.tiny_tokenizers import word_tokenizer
from tests.experiments import experiment
from tests.models import save, tiny_model

FILES = ["circuit.dot", "circuit.json", *(["circuit.svg"] if dot_available() else [])]


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_prompts_from_a_file(kcircuits, worded, prompts_file, tmp_path):
    arguments = ["--ablation", "corrupt", "--metric", "logit-diff", "--threshold", 0.1, "--absolute"]
    done = kcircuits(
        "discover", "--model", worded, "--prompts", prompts_file, *arguments, "--out", tmp_path / "out"
    )
    assert done.status == 0
    assert done.err == "3 prompts\n"
    assert files_in(tmp_path / "out") == FILES
    model = load_model(worded)
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    options = {"ablation": "corrupt", "metric": "logit-diff", "threshold": 0.1, "absolute": True}
    expected = discover(model, *experiment(prompts, "acdc", **options))
    circuit = Circuit.load(tmp_path / "out" / "circuit.json")
    assert circuit.mask().tolist() == expected.mask().tolist()
    given = {"model": str(worded), "prompts": str(prompts_file)}
    assert circuit.settings == expected.settings | {"input": given}
    assert f"{len(circuit.edges)} of {circuit.graph.num_edges} edges" in done.out
    assert (tmp_path / "out" / "circuit.dot").read_text().startswith("digraph")


def test_json(kcircuits, worded, prompts_file, tmp_path):
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--threshold",
        0.1,
        "--out",
        tmp_path,
        "--json",
    )
    assert (done.status, done.err) == (0, "")
    document, circuit = done.json, json.loads((tmp_path / "circuit.json").read_text())
    assert sorted(document["files"]) == [str(tmp_path / name) for name in FILES]
    assert document["prompts"] == {"used": 3, "dropped": {}}
    assert document["num_edges"] == len(circuit["edges"])
    for key in ("metric", "settings", "stats"):
        assert document[key] == circuit[key]


def test_quiet(kcircuits, worded, prompts_file, tmp_path):
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--threshold",
        0.1,
        "--out",
        tmp_path,
        "--quiet",
    )
    assert (done.status, done.out, done.err) == (0, "", "")
    assert files_in(tmp_path) == FILES


def test_one_prompt_as_text(kcircuits, worded, tmp_path):
    texts = {
        "prompt": "In France they speak",
        "answer": "French",
        "corrupt": "In Spain they speak",
        "wrong": "Spanish",
    }
    options = [part for name, text in texts.items() for part in (f"--{name}", text)]
    done = kcircuits(
        "discover", "--model", worded, *options, "--ablation", "corrupt", "--metric", "logit-diff",
        "--threshold", 0.05, "--out", tmp_path, "--memory", "1MiB", "--threads", 1, "--fold-value-biases",
    )  # fmt: skip
    assert done.status == 0
    model = load_model(worded)
    prompt = tokenise(
        model.tokenizer, "In France they speak", "French", corrupt="In Spain they speak", wrong="Spanish",
        vocab_size=61, max_positions=64,
    )  # fmt: skip
    expected = discover(model, Task([prompt], "corrupt", metric="logit-diff"), Acdc(threshold=0.05))
    assert Circuit.load(tmp_path / "circuit.json").mask().tolist() == expected.mask().tolist()


@pytest.mark.parametrize("half", ["validation", "test"])
def test_one_half(kcircuits, worded, prompts_file, tmp_path, half):
    options = ["--ablation", "zero", "--half", half, "--split-seed", 1, "--threshold", 0.1, "--out", tmp_path]
    done = kcircuits("discover", "--model", worded, "--prompts", prompts_file, *options)
    assert done.status == 0
    model = load_model(worded)
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    both = dict(zip(("validation", "test"), split_halves(prompts, 1), strict=True))
    used = len(both[half])
    expected = f"{used} prompt{'s' if used > 1 else ''}; left out: {3 - used} in the other half\n"
    assert done.err == expected
    circuit = Circuit.load(tmp_path / "circuit.json")
    assert (
        circuit.mask().tolist()
        == discover(model, Task(both[half], "zero"), Acdc(threshold=0.1)).mask().tolist()
    )
    assert (circuit.settings["half"], circuit.settings["split_seed"]) == (half, 1)


def relation_options(worded, relation_file, tmp_path):
    return "discover", "--model", worded, "--relation", relation_file, "--threshold", 0.2, "--out", tmp_path


def test_facts_that_the_model_does_not_know_are_left_out(kcircuits, worded, relation_file, tmp_path):
    model = load_model(worded)
    made = relation_prompts(load_relation(relation_file), model.tokenizer, 61, 64)
    ranks = answer_ranks(model, made.prompts)
    assert len(ranks) == 4
    best, *_, worst = sorted(ranks)
    assert best < worst
    done = kcircuits(*relation_options(worded, relation_file, tmp_path), "--top-k", best)
    assert done.status == 0
    known = sum(rank <= best for rank in ranks)
    assert done.err == (
        f"{known} prompt{'s' if known > 1 else ''}; left out: 1 answer not in the vocabulary, "
        f"{4 - known} answer not in the model's top {best}\n"
    )
    assert Circuit.load(tmp_path / "circuit.json").settings["num_prompts"] == known


@pytest.mark.parametrize(
    ("options", "used"),
    [
        (["--top-k", 0], 4),
        (["--top-k", 61], 4),
        (["--top-k", 0, "--limit", 2], 2),
        (["--top-k", 0, "--template", 1, "--ablation", "corrupt"], 4),
        (["--top-k", 0, "--metric", "logit-diff", "--shuffle-seed", 3], 4),
    ],
)
def test_facts_of_a_relation(kcircuits, worded, relation_file, tmp_path, options, used):
    done = kcircuits(*relation_options(worded, relation_file, tmp_path), *options, "--json")
    assert done.status == 0
    assert done.json["prompts"] == {"used": used, "dropped": {"answer not in the vocabulary": 1}}


def test_without_dot_it_says_so_before_the_search(kcircuits, worded, prompts_file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--threshold",
        0.1,
        "--out",
        tmp_path,
        "--quiet",
    )
    assert done.status == 0
    assert done.err == (
        "kcircuits: warning: no circuit.svg, as graphviz' program 'dot' is not installed "
        "(apt install graphviz)\n"
    )
    assert files_in(tmp_path) == ["circuit.dot", "circuit.json"]


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(
    kcircuits, worded, prompts_file, tmp_path, monkeypatch
):
    def fail(*_):
        raise KCircuitsError("dot cannot draw the circuit")

    monkeypatch.setattr(results, "dot_available", lambda: True)
    monkeypatch.setattr(results, "draw", fail)
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--threshold",
        0.1,
        "--out",
        tmp_path,
        "--json",
    )
    assert (done.status, done.err) == (0, "kcircuits: warning: dot cannot draw the circuit\n")
    assert files_in(tmp_path) == ["circuit.dot", "circuit.json"]


METHODS = {
    "edge-pruning": ["--top-n", 120, "--steps", 8, "--seed", 2],
    "eap": ["--top-n", 60],
    "eap-ig-inputs": ["--top-n", 60, "--ig-steps", 3, "--qk-fix"],
    "eap-ig-activations": ["--top-n", 60, "--ig-steps", 2],
    "clean-corrupted": ["--threshold", 0.01],
    "ifr": ["--top-n", 60, "--greedy"],
    "exact": ["--top-n", 60, "--signed"],
    "relp": ["--top-n", 6, "--level", "node"],
}


def test_no_method_is_forgotten():
    assert METHODS.keys() == scoring_methods().keys() | {"edge-pruning"}


def as_options(arguments):
    """What the command line's options are in Python."""
    words = {"--signed": ("absolute", False), "--qk-fix": ("qk_fix", True), "--greedy": ("greedy", True)}
    options = {}
    for index, word in enumerate(arguments):
        if word in words:
            options |= [words[word]]
        elif str(word).startswith("--"):
            options[word.removeprefix("--").replace("-", "_")] = arguments[index + 1]
    return options


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_score_all_edges(kcircuits, worded, prompts_file, tmp_path, method):
    file = tmp_path / "all.safetensors"
    done = kcircuits(
        "discover", "--model", worded, "--prompts", prompts_file, "--method", method, *METHODS[method],
        "--ablation", "corrupt", "--scores", file, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.status == 0
    model = load_model(worded)
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    expected = discover(
        model, *experiment(prompts, method, ablation="corrupt", **as_options(METHODS[method]))
    )
    circuit = Circuit.load(tmp_path / "out" / "circuit.json")
    settings = {name: value for name, value in circuit.settings.items() if name != "input"}
    assert (circuit.method, settings) == (method, expected.settings)
    assert circuit.mask().tolist() == expected.mask().tolist()
    assert done.json["files"][-1] == str(file)
    assert done.json["num_edges"] == len(circuit.edges)
    scores = Scores.load(file)
    assert scores.edges(circuit.mask()) == circuit.edges
    assert (scores.method, scores.settings, scores.model) == (method, settings, circuit.model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "q8"])
def test_narrow_weights(kcircuits, worded, prompts_file, tmp_path, dtype):
    options = ["--method", "eap", "--top-n", 60, "--ablation", "corrupt", "--dtype", dtype]
    file = tmp_path / "scores.safetensors"
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        *options,
        "--scores",
        file,
        "--out",
        tmp_path,
    )
    assert done.status == 0
    model = load_model(worded, dtype=getattr(torch, dtype, dtype))
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    matrix = Scores.load(file).matrix
    assert matrix.dtype == "float32"
    assert (matrix == attribute(model, Task(prompts, "corrupt"), Eap()).matrix).all()
    wide = attribute(load_model(worded), Task(prompts, "corrupt"), Eap()).matrix
    assert 0 < abs(matrix - wide).max() < 0.2 * abs(wide).max()


def test_the_cost_of_training_is_said_in_steps(kcircuits, worded, prompts_file, tmp_path):
    options = ["--method", "edge-pruning", "--top-n", 120, "--steps", 3]
    done = kcircuits("discover", "--model", worded, "--prompts", prompts_file, *options, "--out", tmp_path)
    assert done.status == 0
    assert "\n3 steps in " in done.out


def test_profile(kcircuits, worded, prompts_file, tmp_path):
    search = ["discover", "--model", worded, "--prompts", prompts_file, "--threshold", 0.1, "--out", tmp_path]
    plain = kcircuits(*search)
    done = kcircuits(*search, "--profile")
    assert done.status == 0
    assert done.out.startswith(plain.out.split("\n", 1)[0])
    for text in (
        "Where the time goes",
        "MLP: products",
        "Products with weights, by their rows",
        "GEMM speed",
    ):
        assert text in done.out
        assert text not in plain.out
    document = kcircuits(*search, "--profile", "--json").json
    assert document["profile"]["gemm_flops"] > 0
    recorded = sum(work["seconds"] for work in document["profile"]["work"])
    assert 0 < recorded <= document["profile"]["seconds"]
    assert "profile" not in kcircuits(*search, "--json").json


def test_a_warning_about_prompts_is_one_line(kcircuits, tmp_path):
    folder = save(tiny_model("llama_gqa"), tmp_path / "model")
    word_tokenizer(WORDS, bos=True).save_pretrained(folder)
    arguments = ("--model", folder, "--answer", "French", "--threshold", 0.1, "--quiet")
    done = kcircuits(
        "discover", *arguments, "--prompt", "<s> In France they speak", "--out", tmp_path / "out"
    )
    assert done.status == 0
    (line,) = done.err.splitlines()
    assert line.startswith(
        "kcircuits: warning: the prompt '<s> In France they speak' begins with a special token"
    )
