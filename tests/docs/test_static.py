"""The check of blocks that are not run finds what would fail."""

from __future__ import annotations

import pytest

from kcircuits.model.loading import Model
from tests.docs.command_line import parse
from tests.docs.static import problems

BEGIN = 'import kcircuits as kc\nmodel = kc.load_model("demo")\n'


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("kc.no_such_function(model)", "kcircuits has no no_such_function"),
        ("from kcircuits.no_such import thing", "no module kcircuits.no_such"),
        ("from kcircuits import no_such", "no module kcircuits.no_such"),
        ("model.promps([])", "Model has no promps"),
        ("task = kc.Task(model.prompts([]), colour=1)", "unexpected keyword argument 'colour'"),
        ("kc.discover(model)", "missing a required argument: 'task'"),
        ("circuit = kc.Circuit.load('c.json')\ncircuit.edgy", "Circuit has no edgy"),
        ("model.prompts([], corrupt=1)", "unexpected keyword argument 'corrupt'"),
        ("kc.discover(model, kc.Task([]), kc.Eap()).colour", "Circuit has no colour"),
    ],
)
def test_problems(code, found):
    (problem,) = problems(BEGIN + code)
    assert found in problem


@pytest.mark.parametrize(
    "code",
    [
        "kc.discover(model, kc.Task(model.prompts([]), ablation='zero'), kc.Acdc(threshold=0.1)).edges",
        "model.spec.graph.num_edges",
        "kc.Circuit.load('c.json').graph\nprint(model.identity['name'])",
        "options = {}\nkc.Task(**options)",
        "kc.evaluate(model, *things)",
        "for each in model.prompts([]):\n    each.clean_ids",
    ],
)
def test_no_problem(code):
    assert problems(BEGIN + code) == []


def test_what_is_known_from_before():
    assert problems("model.promps", {"model": Model.__new__(Model)}) == ["line 1: Model has no promps"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plam"], "No such command"),
        (["discover", "--model", "demo"], "Missing"),
        (["discover", "--model", "demo", "--out", "out", "--treshold", "1"], "No such option"),
        (["discover", "--model", "demo", "--out", "out", "--method", "magic"], "magic"),
    ],
)
def test_commands_that_would_fail(words, message):
    with pytest.raises(Exception, match=message):
        parse(words)
