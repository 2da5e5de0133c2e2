"""`import kcircuits`: quick, and complete."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import kcircuits

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


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for module in pkgutil.walk_packages(kcircuits.__path__, "kcircuits.")
        if module.name[-2:] != "_C"
    ],
)
def test_examples_in_docstrings(name):
    if name == "kcircuits.__main__":
        pytest.skip("it runs the command")
    assert doctest.testmod(importlib.import_module(name)).failed == 0
