"""Every result shows, tabulates, draws, saves and loads itself, and is compared by what is in it."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from kcircuits.circuit.drawing import dot_available
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import circuit_of, circuit_of_mask
from tests.display.examples import GOLDEN, KINDS, every, saved, scores
from tests.report.results import TINY, circuit

matplotlib.use("Agg")
NAMES, SAVED = tuple(every()), tuple(saved())
needs_dot = pytest.mark.skipif(not dot_available(), reason="graphviz' program dot is not installed")


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_a_screen(name):
    lines = repr(every()[name]).split("\n")
    assert 1 <= len(lines) <= 3
    assert all(0 < len(line) <= 200 for line in lines)


def test_a_circuit_prints_two_lines():
    size, values = str(circuit()).split("\n")
    assert size == f"Circuit of plain by plain: 3 of {TINY.num_edges} edges, 4 nodes"
    assert values.startswith("plain: full 0.5") and "strongest: a1.h1->logits +3" in values


@pytest.mark.parametrize("name", NAMES)
def test_tables_have_rows(name):
    frame = every()[name].table()
    assert len(frame) > 0
    assert len(frame.columns) > 2


def test_the_table_of_an_evaluation():
    found = saved()["evaluation"]
    frame = found.table().set_index("run")
    assert list(frame.index) == ["full", "circuit", "complement", "empty", "random 1", "random 2"]
    assert frame.loc["circuit", "faithfulness"] == found.faithfulness
    assert frame.loc["random 2", "metric"] == pytest.approx(found.random[1].mean_metric)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "circuit"])
def test_notebooks_show_a_table(name):
    text = every()[name]._repr_html_()
    root = ET.fromstring(text)
    assert root.find("table") is not None
    frame = every()[name].table()
    assert len(root.findall("table/tbody/tr")) == min(20, len(frame))
    assert (f"{len(frame) - 20:,} more rows" in text) == (len(frame) > 20)


def test_html_has_no_markup_of_models():
    text = replace(circuit(), model=circuit().model | {"name": "<script>"})
    text = replace(saved()["evaluation"], model=text.model)._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_is_drawn_into_the_given_axes(name):
    result = every()[name]
    for panel in result.panels():
        if name == "circuit" and not dot_available():
            continue
        figure = Figure()
        left, right = figure.subplots(1, 2)
        assert result.plot(ax=right, panel=panel) is right
        assert right.has_data() or right.texts
        assert not left.has_data()
        figure.canvas.draw()


def test_without_axes_there_is_a_new_figure():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    axes = saved()["curves"].plot()
    assert axes.get_figure().number not in before
    assert axes.get_ylabel() == "rank of the answer"
    pyplot.close(axes.get_figure())


def test_panels_that_do_not_exist():
    with pytest.raises(KCircuitsError, match="panel must be one of rank, probability; got 'ranks'"):
        saved()["curves"].plot(panel="ranks")


@pytest.mark.parametrize("name", SAVED)
def test_round_trip(tmp_path, name):
    result = saved()[name]
    kind = type(result)
    assert kind.from_json(json.loads(json.dumps(result.to_json()))) == result
    result.save(tmp_path / "some.json")
    assert kind.load(tmp_path / "some.json") == result


def close(first, second):
    """Equal up to rounding, as the bootstrap's sums are not the same on every machine."""
    if isinstance(first, dict):
        return list(first) == list(second) and all(close(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(close, first, second))
    return first == second or (isinstance(first, float) and math.isclose(first, second, rel_tol=1e-9))


@pytest.mark.parametrize("name", KINDS)
def test_files_of_the_version_before(tmp_path, name):
    """They load, and the same numbers give the same text: keys in their order, and the same layout."""
    text = (GOLDEN / f"{name}.json").read_text()
    again = KINDS[name].load(GOLDEN / f"{name}.json").to_text()
    assert close(json.loads(again), json.loads(text))
    assert again.count("\n") == text.count("\n")


@pytest.mark.parametrize("name", NAMES)
def test_equality_is_by_content(name):
    first, second = every()[name], every()[name]
    assert first == second
    assert first != "something else"
    changed = replace(
        first, **({"source": "other"} if name == "check" else {"model": first.model | {"x": 1}})
    )
    assert first != changed


def test_an_array_makes_a_difference():
    curves = saved()["curves"]
    full = curves.runs["full"]
    assert np.isnan(full.subject_best_rank).any()  # NaN equals NaN, or curves would not equal themselves
    moved = replace(full, rank=full.rank + 1)
    assert curves != replace(curves, runs=curves.runs | {"full": moved})
    assert full != moved


@pytest.mark.parametrize("make", [circuit, scores])
def test_circuits_and_scores_are_keys(make):
    assert {make(): 1}[make()] == 1


def test_other_results_say_why_they_are_no_keys():
    with pytest.raises(TypeError, match="Curves has no hash because it contains mappings or arrays"):
        hash(saved()["curves"])


@needs_dot
def test_a_circuit_is_a_picture():
    assert circuit()._repr_svg_().count("<svg") == 1
    assert circuit()._repr_html_() is None


@needs_dot
def test_a_large_circuit_shows_its_strongest_edges():
    graph = Graph(12, 8, 8)
    large = circuit_of_mask(graph, graph.valid, np.random.default_rng(0))
    assert len(large.edges) > 10_000
    svg = large._repr_svg_()
    assert "Drawn: the strongest" in svg
    assert len(svg) < 300_000


def test_without_graphviz_a_circuit_is_a_table(monkeypatch):
    monkeypatch.setattr("kcircuits.circuit.drawing.shutil.which", lambda name: None)
    assert circuit()._repr_svg_() is None
    assert "<td>a1.h1</td>" in circuit()._repr_html_()


def test_a_circuit_without_edges():
    empty = circuit_of(TINY)
    assert "0 of" in str(empty)
    assert len(empty.table()) == 0
    if dot_available():
        assert "<svg" in empty._repr_svg_()
