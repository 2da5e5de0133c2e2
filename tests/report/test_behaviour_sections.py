"""What the page says of errors, examples, knockouts, edits and circuits side by side, without its scripts."""

from __future__ import annotations

import json

import pytest

from kcircuits.report.page import write_report
from tests.report.readings.behaviours import edits, explain, hallucination, icl, knockout
from tests.report.readings.documents import overlaps
from tests.report.results import circuit
from tests.report.test_page import Page


@pytest.fixture
def page_of(tmp_path):
    def page(name, document):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        return Page(write_report(tmp_path).read_text())

    return page


def widths(page, style):
    """The widths of the bars of a colour, in percent."""
    fills = [each for each in page.with_tag("span") if each.get("class") == f"fill {style}"]
    return [float(each["style"].removeprefix("width:").removesuffix("%")) for each in fills]


def test_errors(page_of):
    text = page_of("hallucination", hallucination(circuit())).text
    assert "On 2 of 7 prompts the model prefers a wrong answer" in text
    assert "In France French French Dutch 1 5 0 +4.000" in text
    assert "In France French French Dutch 2 5 0 +8.000" in text
    # input adds 2 and 3 to differences of 4 and 8: a mean of 2.5 of 6.
    assert "Nodes that recur over 2 errors" in text
    assert "input 2 +2.500 +41.7%" in text
    assert "a1.h1 1 +0.500 +8.3%" in text  # holds one of them back


def test_one_error_does_not_recur(page_of):
    text = page_of("hallucination", hallucination(circuit(), num_errors=1)).text
    assert "On 1 of 7 prompts" in text
    assert "Nodes that recur" not in text


def test_examples(page_of):
    page = page_of("icl", icl(circuit()))
    assert "(edges: 3 zero-shot, 3 few-shot); 2 heads are only in the one with examples" in page.text
    # Of 4 questions each, 1 and 3 are answered; without the heads 1 and 2, and by chance 3 and 2 of 4.
    assert "zero-shot 0.250 0.250 0.625 (0.500 to 0.750)" in page.text
    assert "few-shot 0.750 0.500 0.625 (0.500 to 0.750)" in page.text
    assert "a0.h1 2 0.0% 0.0% 75.0% 0.0% 25.0%" in page.text
    assert widths(page, "full") == [25, 75]
    assert widths(page, "without") == [25, 50]
    assert widths(page, "random") == [62.5, 62.5]
    assert widths(page, "object") == [75, 0]
    assert widths(page, "separator") == [0, 50]
    spreads = [each["style"] for each in page.with_tag("span") if each.get("class") == "spread"]
    assert spreads == ["left:50.00%;width:25.00%"] * 2
    assert {
        "class": "fill object",
        "style": "width:75.00%",
        "title": "objects of examples 75%",
    } in page.with_tag("span")


def test_no_head_was_added(page_of):
    nothing = {"added": [], "ablations": {"zero-shot": None, "few-shot": None}}
    page = page_of("icl", icl(circuit()) | nothing)
    assert "0 heads are only in the one with examples" in page.text
    assert "few-shot 0.750 – –" in page.text
    assert widths(page, "full") == [25, 75]
    assert widths(page, "without") == widths(page, "object") == []


def test_a_knockout(page_of):
    page = page_of("knockout", knockout(circuit()))
    assert "2 of the circuit's 3 edges are removed from the full model (zero ablation)" in page.text
    assert "the model without 2 random connected circuits of the same size" in page.text
    assert "the circuit's prompts (2) Hit@10 1.000 0.000 0.750 (0.500 to 1.000)" in page.text
    assert "country-capital (2) mean rank 1.5 2.0 2.5 (2.0 to 3.0)" in page.text
    assert "text (200 tokens) perplexity 10.0 1,000.0 60.0 (20.0 to 100.0)" in page.text
    # Hit@10, then the NLL (at most 50), then log perplexity (at most log 1000).
    assert widths(page, "full") == [100, 100, 2, 3, 33.33]
    assert widths(page, "without") == [0, 100, 100, 4, 100]


def test_a_knockout_alone(page_of):
    document = knockout(circuit()) | {"text": None}
    for effect in document["effects"]:
        effect["random"] = []
    page = page_of("knockout", document)
    assert "random" not in page.text
    assert "erplexity" not in page.text
    assert widths(page, "random") == []


def test_an_edit(page_of):
    page = page_of("explain", explain(circuit()))
    assert "In France French → German, not French" in page.text
    assert "rank falls below 10 at the last position after layer 0" in page.text
    assert "layers from subject to last position 0 layers" in page.text
    assert "logit(new) − logit(old) before -1.500" in page.text
    assert "logit(new) − logit(old) after +2.500" in page.text
    assert "added 2 1 lost 1 1 kept 2 1" in page.text
    assert "Nodes added: 2 a1.h1, logits" in page.text
    assert "Edges lost: 1 m0->logits" in page.text
    assert "a1.h1 later heads +3.000 +75.0% +2.500 m0 edited +1.500 +37.5% +4.000" in page.text
    assert "a1.h1 before +0.250 4 German, Polish a1.h1 after +2.750 4 German, Polish" in page.text
    assert "a1.h1, before 0.50 0.50 0.00 a1.h1, after 0.00 0.75 0.25" in page.text
    assert [tag for tag, _ in page.tags].count("circle") == 2
    assert [each["class"] for each in page.with_tag("circle")] == ["lost", "added"]
    assert [each["class"] for each in page.with_tag("rect")] == ["kept", "kept"]  # m0, in both maps
    assert "a0.h2, lost" in page.text


def test_an_edit_that_changes_nothing(page_of):
    document = explain(circuit()) | {"changes": []}
    document["curves"]["new"]["after"] = document["curves"]["new"]["before"]
    text = page_of("explain", document).text
    assert "layers from subject to last position –" in text
    assert "logit(new) − logit(old) does not change." in text


def test_measures_of_edits(page_of):
    text = page_of("edits", edits(circuit(), "why")).text
    assert "why: 1 of 2 edits. Perplexity of the text: 10.00 before, 12.50 after." in text
    assert "efficacy 100.0 % specificity 75.0 % magnitude 0.500" in text
    assert "The language of France is German why 1.000 0.750 0.500 1.000 0.250 5.500" in text
    assert "The language of Spain why why – – – – – – – no why" in text


def test_circuits_side_by_side(page_of):
    text = page_of("comparison", overlaps(circuit())).text
    assert "French French 3 4 1.6 Spanish French 30 12 –" in text  # exp(0.5) effective edges
    assert "In every circuit: m0." in text
    assert "Heads and MLPs in at least 50% of the circuits: 2" in text
    assert "a1.h1 50%" in text
    assert "French 0.750 0.500 Spanish 0.500 0.250 both together 0.625 0.375" in text
    assert "both, in random circuits 0.250 (0.250 to 0.250) 0.125 (0.125 to 0.125)" in text
    assert "p of both 0.250 0.250" in text


def test_circuits_with_nothing_in_common(page_of):
    document = overlaps(circuit()) | {"two_hop": None, "backbone": [], "frequency": {}}
    page = page_of("comparison", document)
    assert "No head or MLP is in at least 50% of the circuits." in page.text
    assert "Two hops" not in page.text
    assert "In which layers" not in page.text
