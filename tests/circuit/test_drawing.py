"""Pictures: what is in the DOT text, that graphviz takes it, and how drawing fails."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from kcircuits.circuit import Edge
from kcircuits.circuit.drawing import MAX_EDGES, dot_available, draw, to_dot
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import UNEVEN, circuit_of, circuit_of_mask, identity_for
from tests.golden import acdc_golden

TINY = Graph(num_layers=2, num_heads=4, num_kv_heads=2)
needs_dot = pytest.mark.skipif(not dot_available(), reason="graphviz' program dot is not installed")


@pytest.fixture(scope="module")
def golden():
    edges = acdc_golden("smollm2")[0]["edges"]
    return circuit_of(Graph(30, 9, 3), *(Edge(*edge) for edge in edges))


def lines_of(dot: str) -> list[tuple[str, str, dict[str, str]]]:
    """The drawn lines: from, to, attributes."""
    found = []
    for tail, head, attributes in re.findall(
        r'^\t*"?([\w. ]+)"? -> "?([\w. ]+)"? \[(.*)\]$', dot, re.MULTILINE
    ):
        pairs = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', attributes))
        found.append((tail, head, {key: value.strip('"') for key, value in pairs.items()}))
    return [line for line in found if line[2]["style"] != "invis"]


def rows_of(dot: str) -> list[list[str]]:
    """The names in each row, the row's label first."""
    blocks = re.findall(r"\{\n\t\trank=same\n(.*?)\n\t\}", dot, re.DOTALL)
    return [re.findall(r'^\t\t"?([\w. ]+?)"? \[', block, re.MULTILINE) for block in blocks]


def test_layers_that_differ():
    circuit = circuit_of(
        UNEVEN, "input->a0.h0<v>", "a0.h1->a1.h1<k>", "a1.h3->m1", "m1->a2.h1<v>", "a2.h1->logits"
    )
    assert rows_of(to_dot(circuit)) == [
        ["embedding", "input"],
        ["layer 0 heads", "a0.h1"],
        ["layer 1 heads", "a1.h3"],
        ["layer 1 MLP", "m1"],
        ["layer 2 heads", "a2.h1"],
        ["output", "logits"],
    ]


def test_a_row_per_sub_block_from_the_bottom_up():
    dot = to_dot(circuit_of(TINY, "input->a0.h3<q>", "input->m0", "a0.h3->m1", "m0->a1.h0<q>"))
    assert "rankdir=BT" in dot
    assert rows_of(dot) == [
        ["embedding", "input"],
        ["layer 0 heads", "a0.h3"],
        ["layer 0 MLP", "m0"],
        ["layer 1 heads", "a1.h0"],
        ["layer 1 MLP", "m1"],
    ]
    for below, above in zip(rows_of(dot), rows_of(dot)[1:], strict=False):
        assert re.search(rf'"?{below[0]}"? -> "?{above[0]}"? \[style=invis', dot)


def test_edges_into_one_head_share_a_line_with_a_stripe_for_each():
    dot = to_dot(circuit_of(TINY, "m0->a1.h0<q> 0.5", "m0->a1.h0<k> 4", "m0->a1.h0<v> 1", "a1.h0->logits 1"))
    merged, other = lines_of(dot)
    assert merged[:2] == ("m0", "a1.h0")
    assert [colour[:7] for colour in merged[2]["color"].split(":")] == ["#0072b2", "#009e73", "#d55e00"]
    assert merged[2]["penwidth"] == "4.00"
    assert merged[2]["tooltip"] == r"m0->a1.h0<q> 0.5\nm0->a1.h0<k> 4\nm0->a1.h0<v> 1"
    assert other[2]["penwidth"] == "2.35"


def test_negative_edges_are_dashed_and_drawn_apart():
    dot = to_dot(circuit_of(TINY, "m0->a1.h0<q> 0.5", "m0->a1.h0<v> -0.5", "a1.h0->logits"))
    assert [line[2]["style"] for line in lines_of(dot)] == ["solid", "dashed", "solid"]
    assert "dashed: negative" in dot
    assert "dashed: negative" not in to_dot(circuit_of(TINY, "m0->a1.h0<q> 0.5"))


def test_a_shared_key_goes_to_the_heads_in_use():
    dot = to_dot(circuit_of(TINY, "input->a0.h1<k>", "a0.h2->logits", "a0.h3->m1", "a0.h0->m1"))
    assert [line[1] for line in lines_of(dot) if line[0] == "input"] == ["a0.h2", "a0.h3"]
    assert "shared key or value" in dot


def test_scores_of_zero():
    (line,) = lines_of(to_dot(circuit_of(TINY, "input->logits 0")))
    assert line[2]["penwidth"] == "0.70"


def test_heads_mlps_and_ends_look_different():
    dot = to_dot(circuit_of(TINY, "input->a0.h0<q>", "a0.h0->m1", "m1->logits"))
    shapes = {
        name: re.search(rf'"?{name}"? \[.*fillcolor="(\S+)".*shape=(\w+)', dot).groups()
        for name in ("input", "a0.h0", "m1", "logits")
    }
    assert shapes["input"] == shapes["logits"]
    assert len(set(shapes.values())) == 3


def test_title():
    dot = to_dot(circuit_of(TINY, "input->m0", "m0->logits"))
    assert "<b>tiny</b>" in dot
    assert f"acdc · 2 of {TINY.num_edges} edges, 3 nodes · nll: full 0.5, circuit 0.75, empty 9" in dot
    assert "Drawn" not in dot
    assert "logits</td>" not in to_dot(circuit_of(TINY, "input->m0"))


def test_title_of_what_was_not_measured():
    dot = to_dot(circuit_of(TINY, "input->m0", metric={}, settings={}))
    assert f"acdc · 1 of {TINY.num_edges} edges, 2 nodes</td>" in dot


def test_big_circuits_are_cut_and_the_picture_says_so(golden):
    dot = to_dot(golden)
    drawn = int(re.search(r"Drawn: the strongest (\d+) edges", dot)[1])
    assert MAX_EDGES - 20 < drawn <= MAX_EDGES
    assert "374 of 70,651 edges, 119 nodes" in dot
    tooltips = {tip for line in lines_of(dot) for tip in line[2]["tooltip"].split(r"\n")}
    assert len(tooltips) == drawn
    strongest = max(golden.edges, key=lambda edge: abs(edge.score))
    assert f"{strongest.sender}->{strongest.receiver} {strongest.score:.4g}" in tooltips
    assert "Drawn" not in to_dot(golden, max_edges=374)


def test_at_least_one_edge(golden):
    with pytest.raises(KCircuitsError, match="max_edges must be at least 1, got 0"):
        to_dot(golden, max_edges=0)


AWKWARD = '<b>"quoted"</b> \\N & \x00\x1b[31m\n<script>alert(1)</script>'


def awkward():
    rng = np.random.default_rng(0)
    return circuit_of_mask(
        TINY,
        random_connected_mask(TINY, 40, rng),
        rng,
        model=identity_for(TINY, AWKWARD),
        method=AWKWARD,
        settings={"metric": AWKWARD},
        metric={AWKWARD: 1.0},
    )


def test_labels_are_escaped():
    dot = to_dot(awkward())
    assert "&lt;b&gt;&quot;quoted&quot;&lt;/b&gt;" in dot
    assert "<script>" not in dot
    assert not re.search(r"[\x00-\x08\x1b]", dot)


@needs_dot
@pytest.mark.parametrize(
    "make", [lambda: circuit_of(TINY), lambda: circuit_of(TINY, "input->logits"), awkward]
)
def test_svg_is_valid_and_shows_every_node(tmp_path, make):
    circuit = make()
    draw(circuit, tmp_path / "circuit.svg")
    root = ET.parse(tmp_path / "circuit.svg").getroot()
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= set(circuit.nodes)
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert [path.name for path in tmp_path.iterdir()] == ["circuit.svg"]


@needs_dot
def test_rows_stand_above_each_other_with_their_labels_on_the_left(tmp_path, golden):
    draw(golden, tmp_path / "circuit.svg")
    places = {
        element.text: (float(element.get("x")), -float(element.get("y")))
        for element in ET.parse(tmp_path / "circuit.svg").getroot().iter("{http://www.w3.org/2000/svg}text")
    }
    rows = rows_of(to_dot(golden))
    heights = []
    for label, *nodes in rows:
        assert all(places[node][0] > places[label][0] for node in nodes)
        assert all(abs(places[node][1] - places[label][1]) < 5 for node in nodes)
        heights.append(places[label][1])
    assert heights == sorted(heights)


@needs_dot
@pytest.mark.parametrize(("name", "start"), [("circuit.PNG", b"\x89PNG\r\n"), ("circuit.pdf", b"%PDF-")])
def test_other_files(tmp_path, golden, name, start):
    draw(golden, tmp_path / name, max_edges=20)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["circuit", "circuit.jpg", "circuit.dot"])
def test_other_kinds_of_file(tmp_path, name):
    with pytest.raises(KCircuitsError, match=r"must end in \.svg, \.png or \.pdf, got .*circuit"):
        draw(circuit_of(TINY), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not dot_available()
    with pytest.raises(KCircuitsError, match=r"needs the program 'dot' of Graphviz.*apt install graphviz"):
        draw(circuit_of(TINY, "input->m0"), tmp_path / "circuit.svg")
    assert list(tmp_path.iterdir()) == []


def test_when_graphviz_fails(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text(f"#!{shutil.which('sh')}\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KCircuitsError, match=r"dot cannot draw the circuit: .* 3"):
        draw(circuit_of(TINY, "input->m0"), tmp_path / "circuit.svg")
    assert list(tmp_path.iterdir()) == [program]
