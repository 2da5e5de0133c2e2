"""`import kcircuits`: quick, and complete."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import kcircuits
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import save, tiny_model

ROOT = Path(__file__).resolve().parents[1]  # where another process finds the package, installed or not
HEAVY = ("torch", "transformers", "numpy", "rich", "networkx")


def modules_after(code: str) -> set[str]:
    code += "\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_costs_nothing():
    assert not modules_after("import kcircuits").intersection(HEAVY)


def test_help_costs_little():
    code = """
import contextlib, io
from kcircuits.cli import run
for command in ([], ["discover"], ["evaluate"], ["convert"], ["sizes"], ["plan"], ["report"], ["sweep"]):
    with contextlib.redirect_stdout(io.StringIO()):
        assert run([*command, "--help"]) == 0
"""
    assert not modules_after(code).intersection(HEAVY)


@pytest.mark.parametrize("name", kcircuits.__all__)
def test_names_are_there(name):
    assert getattr(kcircuits, name).__doc__
    assert name in dir(kcircuits)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="module 'kcircuits' has no attribute 'train'"):
        kcircuits.train  # noqa: B018


SCREEN = """
import kcircuits as kc
model   = kc.load_model("demo")
prompts = model.prompts([("The official language of France is", " French", "The official language of Japan is"), …])
task    = kc.Task(prompts, ablation="corrupt", metric="logit-diff")
circuit = kc.discover(model, task, kc.Acdc(threshold=0.01))
scores  = kc.attribute(model, task, kc.EapIg(steps=5)); circuit = scores.select(top_n=200)
circuit
kc.evaluate(model, task, circuit).table()
kc.read_heads(model, task, circuit).plot(ax=ax)
"""  # noqa: E501
"""One experiment, as a reader of the documentation types it."""
MORE = [
    ("The official language of Japan is", " Japanese", "The official language of France is"),
    ("The official language of Peru is", " Spanish", "The official language of Japan is"),
]


def test_an_experiment_fits_on_one_screen(monkeypatch, tmp_path):
    words = "The official language of is France French Japan Japanese Peru Spanish"
    folder = save(tiny_model("llama_gqa"), tmp_path / "tiny")
    word_tokenizer(words).save_pretrained(folder)
    model = kcircuits.load_model(folder)
    monkeypatch.setattr(kcircuits, "load_model", {"demo": model}.__getitem__)
    names = {"ax": Figure().subplots()}
    exec(SCREEN.replace("…", repr(MORE)[1:-1]), names)
    french, japanese, spanish = (prompt.answer_id for prompt in names["prompts"])
    assert [prompt.wrong_id for prompt in names["task"].prompts] == [japanese, french, japanese]
    circuit = names["circuit"]
    assert (circuit.method, circuit.settings["top_n"]) == ("eap-ig-inputs", 200)
    assert french != spanish
    assert names["ax"].get_images()  # the map of what heads and MLPs write


def with_examples() -> list[str]:
    """Modules whose docstrings have examples."""
    package = ROOT / "kcircuits"
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted(package.rglob("*.py"))
        if ">>> " in file.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings(name):
    done = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert done.attempted > 0 and done.failed == 0
