"""Curves and tables on the page: the numbers are the files', whatever the reader chooses."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.report.browser.actions import details, pin
from tests.report.browser.example import CIRCUIT
from tests.report.readings.documents import curves, heads, roles

NODES = [node for node in CIRCUIT.nodes if node != "logits"]


def column(page, table, index):
    return [row.locator("th, td").nth(index).inner_text() for row in page.locator(f"{table} tbody tr").all()]


def test_curves(page):
    document = curves(CIRCUIT)
    assert (
        page.locator("#curves-charts .line").count() == 8
    )  # two runs, the answer and the subject, two charts
    assert page.locator("#curves-charts .band").count() == 8
    page.select_option("#curves-prompt", "1")
    assert page.locator("#curves-charts .band").count() == 0
    page.click("#curves-charts summary")
    titles = page.locator("#curves-charts th[scope=col]").all_inner_texts()
    place = titles.index("rank, circuit")
    expected = document["prompts"][1]["runs"]["circuit"]["rank"]
    shown = [
        float(text.replace(",", "").replace("k", "e3").replace("M", "e6"))
        for text in column(page, "#curves-charts", place)
    ]
    assert shown == pytest.approx(expected, rel=0.01)


def test_the_rank_axis_is_logarithmic_with_1_on_top(page):
    ticks = page.locator("#curves-charts svg >> nth=0").locator(".grid .tick")
    labels = [text.replace(",", "") for text in ticks.all_text_contents()]
    heights = [tick.bounding_box()["y"] for tick in ticks.all()]
    assert labels[:3] == ["1", "10", "100"]
    assert heights == sorted(heights)
    steps = [after - before for before, after in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=1)


def test_head_table_sorts(page):
    values = [float(text.replace("−", "-")) for text in column(page, "#heads", 2)]
    assert [abs(value) for value in values] == sorted(map(abs, values), reverse=True)
    title = page.locator("#heads th button", has_text="answer's rank")
    for order, reverse in [("descending", True), ("ascending", False)]:
        title.press("Enter")
        assert page.locator("#heads th[aria-sort]").get_attribute("aria-sort") == order
        ranks = [int(text) for text in column(page, "#heads", 4)]
        assert ranks == sorted(ranks, reverse=reverse)
    page.click("#heads th button:has-text('node')")
    names = column(page, "#heads", 0)
    heads_alone = [name for name in names if name.startswith("a")]
    assert heads_alone == sorted(heads_alone, key=lambda name: [int(part) for part in name[1:].split(".h")])


def test_prompt_and_position_are_chosen_everywhere_at_once(page):
    document = heads(CIRCUIT)
    name = NODES[4]
    pin(page, name)
    for prompt, position in [(0, 3), (1, 3), (1, 1)]:
        page.select_option("#heads select >> nth=0", str(prompt))
        page.select_option("#reading-place select >> nth=1", str(position))
        assert page.input_value("#heads select >> nth=1") == str(position)
        expected = next(
            each
            for each in document["prompts"][prompt]["nodes"]
            if (each["node"], each["position"]) == (name, position)
        )
        row = page.locator("#heads tbody tr", has=page.locator(f"button:text-is('{name}')"))
        cells = row.locator("td").all_inner_texts()
        assert cells[1] == f"{expected['logit']:+g}".replace("-", "−")
        assert cells[3] == str(expected["rank"])
        assert f"Adds {expected['logit']:+g}".replace("-", "−") in details(page)


def test_a_node_of_the_table_leads_to_the_picture(page):
    page.locator("#heads").scroll_into_view_if_needed()
    page.click("#heads tbody button >> nth=0")
    assert page.evaluate("document.activeElement.id") == "canvas"
    name = page.inner_text("#heads tbody button >> nth=0")
    assert f"paths through {name}." in page.inner_text("#status")


def test_role_table_sorts(page):
    for index, key in [(2, "ratio"), (4, "subject_write")]:
        page.locator("#roles table >> nth=0").locator("th button").nth(index).click()
        shown = [float(text) for text in column(page, "#roles table >> nth=0 >> css=", index)]
        assert shown == pytest.approx(
            sorted((each[key] for each in roles(CIRCUIT)["heads"]), reverse=True), abs=0.01
        )
