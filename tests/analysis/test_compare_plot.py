"""The picture of a comparison: what is in it, whatever circuits are called."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kcircuits.analysis.comparison.plot import draw_comparison
from kcircuits.analysis.comparison.reading import compare
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import circuit_of

SVG = "{http://www.w3.org/2000/svg}"
TINY = Graph(num_layers=2, num_heads=2, num_kv_heads=1)
CIRCUITS = [circuit_of(TINY, "input->m0", "m0->logits"), circuit_of(TINY, "input->logits")]


def texts_of(made, path) -> set[str]:
    draw_comparison(made, path)
    root = ET.fromstring(path.read_text())
    assert not list(root.iter(f"{SVG}script"))
    return {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}


def test_names_numbers_and_domains(tmp_path):
    texts = texts_of(compare(CIRCUITS, ["one", "two"], ["x", "y"]), tmp_path / "x.svg")
    assert {"one", "two", "x", "y", "0.67", "0.00", "1.00", "layer", "MLP"} <= texts


def test_one_domain_needs_no_legend(tmp_path):
    assert "all" not in texts_of(compare(CIRCUITS), tmp_path / "x.svg")


@pytest.mark.parametrize("count", [9, 30])
def test_many_circuits_have_no_numbers(count, tmp_path):
    names = [f"circuit {number}" for number in range(count)]
    texts = texts_of(compare([CIRCUITS[number % 2] for number in range(count)], names), tmp_path / "x.svg")
    assert "0.67" not in texts
    assert ("circuit 8" in texts) == (count == 9)


def test_awkward_names(tmp_path):
    awkward = ["_$x^2$ </text><script>alert(1)</script>", "国语\x00\u202e"]
    texts = texts_of(compare(CIRCUITS, awkward, awkward), tmp_path / "x.svg")
    assert any("$x^2$" in text for text in texts)
    assert any("国语" in text for text in texts)


def test_another_kind_of_file(tmp_path):
    with pytest.raises(KCircuitsError, match=r"must end in \.svg, \.png or \.pdf"):
        draw_comparison(compare(CIRCUITS), tmp_path / "x.gif")
