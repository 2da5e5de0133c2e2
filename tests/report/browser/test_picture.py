"""The interactive picture: each control does what it says, by mouse and by keyboard."""

from __future__ import annotations

import re

import networkx as nx
import pytest

from kcircuits.circuit import Circuit
from kcircuits.graph import kind_of
from kcircuits.report.page import write_report
from tests.circuits import circuit_of
from tests.report.browser.actions import (
    cursor,
    details,
    picture,
    pin,
    show_all,
    shown_edges,
    slide_to,
    status,
)
from tests.report.browser.example import CIRCUIT, GRAPH, OTHER, ROLES, strongest


def edges_through(circuit: Circuit, node: str) -> int:
    """Edges on paths through a node, the obvious way."""
    graph = circuit.to_networkx()
    before, after = nx.ancestors(graph, node) | {node}, nx.descendants(graph, node) | {node}
    return sum(
        edge.sender in after or bool(before.intersection(circuit.endpoints(edge.receiver)))
        for edge in circuit.edges
    )


def test_hover(page):
    page.focus("#canvas")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    name, x, y = cursor(page)
    assert name != "logits"
    page.keyboard.press("Tab")
    page.wait_for_selector("#tip", state="hidden")
    before = picture(page)
    page.mouse.move(x, y)
    assert page.inner_text("#tip") == name
    assert page.inner_text("#details h3") == name
    assert picture(page) != before
    text = details(page)
    assert "to the logit of" in text
    assert "which ranks" in text
    assert "France" in page.inner_text("#details .tops")
    if name.startswith("a"):
        assert "75%" in page.inner_text("#details .attention")
    page.mouse.move(2, 2)
    page.wait_for_selector("#tip", state="hidden")
    assert "The strongest edges" in details(page)
    assert picture(page) == before


def test_a_click_pins_all_paths_through_a_node(page):
    show_all(page)
    page.focus("#canvas")
    page.keyboard.press("ArrowUp")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    name, x, y = cursor(page)
    page.mouse.click(x, y)
    page.keyboard.press("Tab")  # the keyboard's own place is said first
    through = edges_through(CIRCUIT, name)
    assert 0 < through < len(CIRCUIT.edges)
    assert (
        status(page)
        == f"{through} of 120 edges between {len(CIRCUIT.nodes)} nodes are on paths through {name}."
    )
    assert page.inner_text("#details h3") == name
    page.mouse.click(x, y)
    assert "paths" not in status(page)


def test_paths_through_any_node(page):
    show_all(page)
    for node in ["input", "logits", CIRCUIT.nodes[5], CIRCUIT.nodes[-4]]:
        pin(page, node)
        assert status(page).startswith(f"{edges_through(CIRCUIT, node)} of 120 edges"), node
        page.click("#details button:has-text('Unpin')")
        assert status(page).startswith("Shown: 120 edges")


def test_the_slider_and_its_mark(page):
    marks, counts = [], []
    last = int(page.get_attribute("#size", "max"))
    assert last > 10
    for position in (0, 5, last // 2, last):
        slide_to(page, position)
        counts.append(shown_edges(page))
        marks.append(float(page.get_attribute("#marker", "x1")))
        part = strongest(counts[-1])
        assert len(part.edges) == counts[-1]
        assert status(page) == f"Shown: {counts[-1]} edges between {len(part.nodes)} nodes."
        assert str(counts[-1]) in page.get_attribute("#size", "aria-valuetext")
    assert counts == sorted(set(counts))
    assert counts[-1] == 120
    assert marks == sorted(set(marks))
    page.press("#size", "ArrowLeft")
    assert shown_edges(page) < 120


def test_the_mark_stands_where_the_axis_says(page):
    """At 120 edges it meets the end of the line of a method whose largest circuit has 120."""
    show_all(page)
    end = page.get_attribute("#size-chart path.line.own", "d").rpartition("L")[2]
    assert float(page.get_attribute("#marker", "x1")) == pytest.approx(float(end.split(",")[0]), abs=0.1)


def test_search(page):
    before = picture(page)
    page.fill("#search", "a1")
    matching = [node for node in CIRCUIT.nodes if "a1" in node]
    assert status(page) == f"{len(matching)} nodes match."
    assert picture(page) != before
    page.fill("#search", "nowhere")
    assert status(page) == "No node matches."
    page.press("#search", "Enter")
    assert status(page) == "No node matches."
    name = next(node for node in CIRCUIT.nodes if node.startswith("m"))
    page.fill("#search", name.upper())
    page.press("#search", "Enter")
    assert f"paths through {name}." in status(page)
    assert page.inner_text("#details h3") == name
    page.press("#search", "Escape")
    assert page.input_value("#search") == ""


def test_search_brings_in_what_the_slider_has_left_out(page):
    slide_to(page, 0)
    missing = next(node for node in CIRCUIT.nodes if node not in strongest(shown_edges(page)).nodes)
    pin(page, missing)
    assert re.match(r"[1-9]\d* of", status(page))
    assert missing in strongest(shown_edges(page)).nodes


def test_search_for_a_node_of_the_other_circuit(page):
    only = next(node for node in OTHER.nodes if node not in CIRCUIT.nodes)
    page.fill("#search", only)
    assert status(page) == "No node matches."
    page.check("input[value=change]")
    page.fill("#search", only)
    page.press("#search", "Enter")
    assert page.inner_text("#details h3") == only


def test_filter_by_kind(page):
    show_all(page)
    before = picture(page)
    for kind in ["q", "k", "v", "mlp", "logits"]:
        page.uncheck(f"#kinds input[value={kind}]")
        assert shown_edges(page) == sum(kind_of(edge.receiver) != kind for edge in CIRCUIT.edges), kind
        assert picture(page) != before
        page.check(f"#kinds input[value={kind}]")
    assert picture(page) == before


def test_filter_by_role(page):
    show_all(page)
    for role in ["mover", "relation", "mixture"]:
        page.select_option("#role", role)
        with_role = {node for node, its in ROLES.items() if its == role}
        assert shown_edges(page) == sum(
            edge.sender in with_role or bool(with_role.intersection(CIRCUIT.endpoints(edge.receiver)))
            for edge in CIRCUIT.edges
        ), role
    page.select_option("#role", "all")
    assert shown_edges(page) == 120


def test_compare(page):
    show_all(page)
    assert page.is_hidden("[data-legend=change]")
    before = picture(page)
    page.check("input[value=change]")
    assert shown_edges(page) == len(CIRCUIT.edges) + len(OTHER.difference(CIRCUIT).edges)
    assert page.is_visible("[data-legend=change]")
    assert picture(page) != before
    page.click("#node-list summary")
    page.wait_for_selector("#node-list button")
    names = page.locator("#node-list button").all_inner_texts()
    assert {edge.sender for edge in (*CIRCUIT.edges, *OTHER.edges)} <= set(names)
    page.check("input[value=kind]")
    assert shown_edges(page) == 120


def test_an_empty_circuit_has_lost_everything(opened, tmp_path):
    circuit_of(GRAPH).save(tmp_path / "circuit.json")
    OTHER.save(tmp_path / "other.json")
    page = opened(write_report(tmp_path, compare=tmp_path / "other.json"))
    assert status(page) == "Shown: 0 edges between 0 nodes."
    page.check("input[value=change]")
    assert shown_edges(page) == len(OTHER.edges)


def test_keyboard(page):
    page.focus("#canvas")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    visited = []
    for key in ["ArrowUp", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowRight", "ArrowUp"]:
        page.keyboard.press(key)
        visited.append(cursor(page)[0])
        assert status(page).startswith(f"{visited[-1]}. ")
    assert visited[0] == "logits"
    assert len(set(visited)) > 2
    page.keyboard.press("Enter")
    assert page.inner_text("#details .heading button") == "Unpin"
    page.keyboard.press("Escape")
    assert status(page).startswith("Shown: ")
    views = [picture(page)]
    for key in ["+", "-", "0", "Shift+ArrowLeft", "Shift+ArrowUp", "0"]:
        page.keyboard.press(key)
        views.append(picture(page))
    assert views[1] != views[0]
    assert views[3] == views[6] == views[0]  # all of it again
    assert len({views[0], views[4], views[5]}) == 3


def test_every_control_can_be_reached_by_tab(page):
    page.focus("nav a >> nth=0")
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name || 'other'"))
    assert {"search", "role", "colour", "zoom-in", "zoom-out", "zoom-fit", "canvas", "size"} <= reached


def test_pan_and_zoom(page):
    start = picture(page)
    frame = page.locator("#canvas").bounding_box()
    x, y = frame["x"] + 0.3 * frame["width"], frame["y"] + 0.4 * frame["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=5)
    page.mouse.up()
    page.mouse.move(2, 2)
    panned = picture(page)
    assert panned != start
    page.click("#zoom-fit")
    assert picture(page) == start
    page.mouse.move(x, y)
    height = page.evaluate("scrollY")
    page.mouse.wheel(0, 100)  # the page's, not the picture's
    page.mouse.move(2, 2)
    assert picture(page) == start
    assert page.evaluate("scrollY") > height
    page.mouse.move(x, y - 100)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    page.mouse.move(2, 2)
    assert picture(page) != start


def test_the_list_of_nodes(page):
    page.click("#node-list summary")
    page.wait_for_selector("#node-list button")
    names = page.locator("#node-list button").all_inner_texts()
    assert names == [node for node in CIRCUIT.nodes if node in strongest(shown_edges(page)).nodes]
    first = page.locator("#node-list button").nth(1)
    first.press("Enter")
    assert first.get_attribute("aria-pressed") == "true"
    assert f"paths through {names[1]}." in status(page)
    assert page.evaluate("document.activeElement.textContent") == names[1]


def test_from_node_to_node_in_the_details(page):
    pin(page, "logits")
    link = page.locator("#details .edges button").first
    name = link.inner_text()
    link.click()
    assert page.inner_text("#details h3") == name
    assert page.evaluate("document.activeElement.id") == "details"
