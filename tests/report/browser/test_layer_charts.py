"""Charts of errors, domains, edits: lines, marks and numbers are the files', by pointer and by keyboard."""

from __future__ import annotations

import json

import pytest

from kcircuits.report.page import write_report
from tests.report.browser.example import CIRCUIT
from tests.report.browser.test_accessibility import faults
from tests.report.browser.test_readings import column
from tests.report.readings.behaviours import explain, hallucination
from tests.report.readings.documents import overlaps, write_readings

LAYERS = CIRCUIT.graph.num_layers


def across(page, selector):
    """Where some upright lines stand, in the chart's own measure."""
    return [float(each.get_attribute("x1")) for each in page.locator(selector).all()]


def number_of(text):
    return float(text.replace(",", "").replace("−", "-").replace("%", ""))


def readout(page, chart):
    """What the line below a chart says: after how many layers, and each name's number."""
    place, _, rest = page.inner_text(f"{chart} p.readout").partition(": ")
    return place, {
        name: number_of(value) for name, value in (each.rsplit(" ", 1) for each in rest.split(", "))
    }


def step(page, chart, key):
    page.locator(f"{chart} svg").press(key)
    return readout(page, chart)


def test_errors(page):
    error = hallucination(CIRCUIT)["prompts"][1]
    page.select_option("#errors-prompt", "1")
    ticks = page.locator("#errors-charts .chart >> nth=0").locator(".axis:not(.grid) .tick")
    scale = {
        int(tick.text_content()): float(tick.get_attribute("transform").partition("(")[2].partition(",")[0])
        for tick in ticks.all()
    }
    per_layer = (scale[LAYERS] - scale[0]) / LAYERS
    for kind, key in [("overtakes", "overtakes"), ("best", "best_layer")]:
        (place,) = across(page, f"#errors-charts .chart:first-child .mark.{kind}")
        assert place == pytest.approx(
            scale[0] + per_layer * error[key], abs=1
        )  # d3 puts ticks on half pixels
    assert page.locator("#errors-charts .line").count() == 4
    assert "for good after 2 layers" in page.inner_text("#errors-story")
    rows = page.locator("#errors-nodes tbody tr").all()
    shares = [number_of(row.locator("td").nth(1).inner_text()) for row in rows]
    expected = sorted((100 * node["share"] for node in error["nodes"]), reverse=True)
    assert shares == pytest.approx(expected, abs=0.06)
    page.click("#errors-nodes th button:has-text('share') >> nth=0")
    page.click("#errors-nodes th button:has-text('share') >> nth=0")
    assert [number_of(text) for text in column(page, "#errors-nodes", 2)] == sorted(shares)
    page.select_option("#errors-prompt", "0")  # the order stays the reader's
    again = [number_of(text) for text in column(page, "#errors-nodes", 2)]
    assert again == sorted(again)


def test_a_node_that_decides_leads_to_the_picture(page):
    button = page.locator("#errors-nodes tbody button").first
    name = button.inner_text()
    button.click()
    assert f"paths through {name}." in page.inner_text("#status")


def test_by_keyboard(page):
    error = hallucination(CIRCUIT)["prompts"][0]["runs"]
    chart = "#errors-charts .chart:first-child"
    for key, layer in [
        ("ArrowRight", 0),
        ("ArrowRight", 1),
        ("End", LAYERS),
        ("ArrowLeft", LAYERS - 1),
        ("Home", 0),
    ]:
        place, values = step(page, chart, key)
        assert place == f"after {layer} layer{'' if layer == 1 else 's'}"
        assert values["right answer"] == pytest.approx(error["right"]["rank"][layer], rel=0.01)
        assert values["wrong answer"] == pytest.approx(error["wrong"]["rank"][layer], rel=0.01)
    page.locator(f"{chart} svg").press("Escape")
    assert page.inner_text(f"{chart} p.readout") == ""
    assert page.locator(f"{chart} line.readout").get_attribute("visibility") == "hidden"


def test_by_pointer(page):
    chart = "#edit-charts .chart:first-child"
    page.locator(chart).scroll_into_view_if_needed()
    (mark,) = across(page, f"{chart} .mark.edited")  # m0 is edited, which shows after 1 layer
    frame = page.locator(f"{chart} svg").bounding_box()
    page.mouse.move(frame["x"] + mark + 3, frame["y"] + 100)
    place, values = readout(page, chart)
    assert place == "after 1 layer"
    curves = explain(CIRCUIT)["curves"]
    for name in ("new", "old"):
        for when in ("before", "after"):
            expected = curves[name][when]["subject"]["rank"][1]
            assert values[f"{name} {when}"] == pytest.approx(expected, rel=0.01)
    page.mouse.move(frame["x"] - 5, frame["y"] - 5)
    assert page.inner_text(f"{chart} p.readout") == ""


def test_an_edit(page):
    curves = explain(CIRCUIT)["curves"]
    assert page.locator("#edit-charts .chart").count() == 4
    assert page.locator("#edit-charts .line.before").count() == 8
    page.click("#edit-charts summary")
    titles = page.locator("#edit-charts th[scope=col]").all_inner_texts()
    at = titles.index("probability at the last position, new after")
    shown = [number_of(text) for text in column(page, "#edit-charts", at)]
    assert shown == pytest.approx(curves["new"]["after"]["last"]["probability"], rel=0.01, abs=1e-9)


def test_domains(page):
    frequency = overlaps(CIRCUIT, " French")["frequency"]
    assert page.locator("#frequency-charts .line").count() == 4
    names = page.locator("#frequency-charts .chart:first-child .name").all_text_contents()
    assert set(names) == {" French", "two hops"}
    for number, kind in enumerate(("heads", "mlp")):
        chart = f"#frequency-charts .chart:nth-child({number + 1})"
        for layer in range(3):
            place, values = step(page, chart, "ArrowRight")
            assert place == f"layer {layer}"
            assert values["two hops"] == pytest.approx(frequency["two hops"][layer][kind], rel=0.01)


def test_many_domains(opened, tmp_path):
    CIRCUIT.save(tmp_path / "circuit.json")
    write_readings(tmp_path, CIRCUIT)
    document = overlaps(CIRCUIT)
    rows = document["frequency"]["two hops"]
    document["frequency"] = {f"domain {number}": rows for number in range(9)}
    (tmp_path / "comparison.json").write_text(json.dumps(document))
    page = opened(write_report(tmp_path))
    assert page.locator("#frequency-charts .line").count() == 10
    assert "The charts show the first 5 of 9 domains" in page.inner_text("#frequency-charts")
    page.click("#frequency-charts summary")
    titles = page.locator("#frequency-charts th[scope=col]").all_inner_texts()
    assert titles[1:10] == [f"heads, domain {number}" for number in range(9)]


def test_bars_are_as_wide_as_their_numbers(page):
    track = page.locator("#icl .bar-group .track").first.bounding_box()["width"]
    shares = [number_of(text) / 100 for text in page.locator("#icl .bar-group .share").all_inner_texts()]
    bars = page.locator("#icl .bar-group .fill").all()
    assert [bar.bounding_box()["width"] / track for bar in bars] == pytest.approx(shares, abs=0.01)
    pieces = page.locator("#icl .stacked >> nth=0").locator(".fill")
    assert sum(piece.bounding_box()["width"] for piece in pieces.all()) == pytest.approx(
        page.locator("#icl .stacked").first.bounding_box()["width"], abs=1
    )


def test_what_is_there_without_a_circuit(opened, tmp_path):
    write_readings(tmp_path, CIRCUIT)
    page = opened(write_report(tmp_path), viewport={"width": 400, "height": 900}, color_scheme="dark")
    assert page.locator("#graph").count() == 0
    assert page.locator("#errors-nodes tbody button").count() == 0
    assert page.locator("#heads tbody tr").count() > 0
    assert page.locator("#errors-charts .line").count() == 4
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert faults(page) == []
