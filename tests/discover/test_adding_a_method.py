"""A method is one class and one line of the registry: planner, command line, sweep and comparison know it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from kcircuits.discovery import METHODS, Scorer, discover, method_and_selection
from kcircuits.engine.needs import flow_workspace
from kcircuits.model.loading import Model
from kcircuits.planning import plan
from kcircuits.runtime.option_fields import option, options_of
from kcircuits.sizes import SizeOptions, compare_sizes, make_methods
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([4, 3])
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Drawn(Scorer):
    """Scores drawn at random."""

    name: ClassVar[str] = "drawn"
    summary: ClassVar[str] = "Draws scores at random."

    seed: int = option(0, help="Seed of all random draws.", metavar="S")
    spread: float = option(1.0, help="Largest score that is drawn.", metavar="X")

    def workspace(self, sizes: Any, memory: int, largest_chunk: int | None = None) -> int:
        return flow_workspace(sizes)

    def scores(self, spec: Any, task: Task, memory: int, progress: Any) -> np.ndarray:
        drawn: np.ndarray = np.random.default_rng(self.seed).random(spec.graph.valid.shape)
        return np.where(spec.graph.valid, self.spread * drawn, 0)


@pytest.fixture
def model(monkeypatch) -> Model:
    monkeypatch.setitem(METHODS, "drawn", Drawn)
    spec = tiny_spec("llama")
    return Model(spec, None, identity_for(spec.graph))


def test_every_surface_knows_a_new_method(model):
    task = Task(PROMPTS)
    method, selection = method_and_selection("drawn", {"seed": 3, "top_n": 50})
    assert method == Drawn(seed=3)
    circuit = discover(model, task, method, selection)
    assert circuit.method == "drawn" and circuit.settings["seed"] == 3 and circuit.edges
    planned = plan(model, task, method)
    assert planned.method == "drawn" and planned.least > 0
    options = SizeOptions(fractions=(0.2, 1.0))
    (curve,) = compare_sizes(model, task, make_methods(["drawn"], {"seed": 3}), options=options).curves
    assert curve.settings == {"seed": 3, "spread": 1.0}
    assert [point.num_edges for point in curve.points][-1] == model.spec.graph.num_edges


def test_the_command_line_knows_a_new_method():
    code = (
        "import tests.discover.test_adding_a_method as added\n"
        "from kcircuits.discovery.methods import METHODS\n"
        "METHODS['drawn'] = added.Drawn\n"
        "from kcircuits.cli import run\n"
        "for command in ('discover', 'plan', 'sizes'):\n"
        "    run([command, '--help'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.count("|drawn>") == 2  # of --method
    shown = " ".join(done.stdout.split())
    assert shown.count("--spread X Largest score that is drawn. [drawn; default: 1.0]") == 3
    assert shown.count("[edge-pruning, drawn; default: 0]") == 2  # --seed; for sizes also of random circuits


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_every_option_has_its_words(method):
    assert method.summary.endswith(".")
    options = options_of(method)
    assert len(options) == len(inspect.signature(method).parameters)
    for each in options.values():
        assert each.words.help.endswith(".")
    assert method().settings.keys() == options.keys()
