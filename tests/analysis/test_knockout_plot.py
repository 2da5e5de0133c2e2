"""The picture of a knockout: its bars, and what they are called."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from matplotlib.figure import Figure

from kcircuits.analysis.knockout.plot import draw_knockout
from kcircuits.analysis.knockout.results import Knockout, PromptsEffect, TextEffect
from kcircuits.evaluation import RunMeasures
from tests.circuits import identity_for
from tests.report.results import TINY

SVG = "{http://www.w3.org/2000/svg}"


def run(metric: float, rank: float) -> RunMeasures:
    return RunMeasures((metric,), (rank,), (0.5,), (0.0,))


def made(names=("own", "far"), random=2, text=True) -> Knockout:
    effects = tuple(
        PromptsEffect(name, run(1, 1), run(4, 50), tuple(run(2 + i, 3) for i in range(random)))
        for name in names
    )
    settings = {"ablation": "zero", "hit_k": 10, "seed": 0, "num_circuit_edges": 5, "num_removed_edges": 3}
    on_text = TextEffect(7, 20.0, 400.0, (30.0, 50.0)[:random]) if text else None
    return Knockout(identity_for(TINY), settings, effects, on_text)


def heights(axes) -> list[list[float]]:
    return [[bar.get_height() for bar in bars] for bars in axes.containers]


def test_bars():
    hits, nll, text = (made().plot(Figure().subplots(), panel) for panel in ("hit", "nll", "perplexity"))
    assert heights(hits) == [[1, 1], [0, 0], [1, 1]]
    assert heights(nll) == [[1, 1], [4, 4], [2.5, 2.5]]
    assert heights(text) == [[20], [400], [40]]
    assert text.get_yscale() == "log"
    assert [text.yaxis.get_major_formatter()(value) for value in (1000, 1e7)] == ["1,000", "1e+07"]
    (ends,) = nll.collections
    assert [segment[:, 1].tolist() for segment in ends.get_segments()] == [[2, 3], [2, 3]]


def test_without_random_circuits_and_text():
    without = made(random=0, text=False)
    axes = [without.plot(Figure().subplots(), panel) for panel in without.panels()]
    assert [len(each.containers) for each in axes] == [2, 2]


@pytest.mark.parametrize("name", ["_$x^2$ </text><script>", "国语\x00\u202e"])
def test_awkward_names(name, tmp_path):
    draw_knockout(made(names=("own", name)), tmp_path / "x.svg")
    root = ET.fromstring((tmp_path / "x.svg").read_text())
    assert not list(root.iter(f"{SVG}script"))
    texts = {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}
    assert {"own", "Hit@10", "perplexity", "without the circuit", "text, 7 tokens"} <= texts
