"""The report: well-formed, complete, equal to the results, and deaf to what others write into them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from kcircuits.circuit.drawing import dot_available
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.report.page import report_page, write_report
from kcircuits.report.results import Results, load_results
from tests.circuits import circuit_of, identity_for
from tests.report.readings.documents import write_readings
from tests.report.results import TINY, circuit, comparison, evaluation, write_all

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that every tag is closed in its turn; collects tags, identifiers and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def with_tag(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(tmp_path) -> Page:
    return Page(write_report(write_all(tmp_path)).read_text())


def test_structure(page):
    assert [attributes["id"] for attributes in page.with_tag("section")] == [
        "circuit",
        "evaluation",
        "sizes",
        "repeat",
    ]
    assert len(page.with_tag("main")) == len(page.with_tag("h1")) == 1
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.with_tag("th"))
    assert page.with_tag("html") == [{"lang": "en"}]
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for tag, attributes in page.tags:
        for name in ("href", "xlink:href"):
            if name in attributes:
                assert attributes[name][1:] in identifiers, (tag, attributes)
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in identifiers
    scrolls = [attributes for _, attributes in page.tags if attributes.get("class") == "scrolls"]
    assert scrolls
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in scrolls)


def test_sections_of_readings(tmp_path):
    write_readings(write_all(tmp_path), circuit())
    (tmp_path / "other.json").write_text((tmp_path / "circuit.json").read_text())
    page = Page(write_report(tmp_path, compare=tmp_path / "other.json").read_text())
    identifiers = [attributes["id"] for attributes in page.with_tag("section")]
    assert identifiers == [
        *("circuit", "change", "curves", "heads", "roles", "knockout", "hallucination", "icl", "edit"),
        *("edits", "overlap", "evaluation", "sizes", "repeat"),
    ]
    links = [attributes["href"] for attributes in page.with_tag("a")]
    assert links[: len(identifiers)] == [f"#{identifier}" for identifier in identifiers]
    assert "a1.h1 mover 20.5 0.01 to 40 +1.500 -0.250" in page.text
    assert "a1.h1 3.500 0.250 1.000 (0.500 to 1.500)" in page.text  # without the movers, and chance
    assert "Spanish 0.88 1.00 0.50" in page.text
    assert f"kcircuits report {tmp_path} --compare {tmp_path / 'other.json'}" in page.text


def test_what_has_changed(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs.json"
    ours.mkdir()
    circuit().save(ours / "circuit.json")
    circuit_of(TINY, "input->m0 2", "input->m1 -4", "m1->logits 1").save(theirs)
    text = Page(write_report(ours, compare=theirs).read_text()).text
    assert "edges nodes added 2 1 lost 2 1 kept 1 3" in text
    assert "0.200 of the edges, 0.600 of the nodes" in text
    assert "Edges lost: 2 Edges lost: 2 from to score input m1 -4 m1 logits +1" in text
    assert "Nodes added: 1 a1.h1" in text


def test_circuits_of_other_graphs_are_not_compared(tmp_path):
    write_all(tmp_path)
    other = tmp_path / "other.json"
    circuit_of(Graph(1, 1, 1), "input->logits").save(other)
    with pytest.raises(KCircuitsError, match=r"other\.json: a circuit of .* cannot be compared"):
        write_report(tmp_path, compare=other)
    assert not (tmp_path / "report.html").exists()


def test_numbers_are_those_of_the_results(page):
    text = page.text
    assert f"3 of {TINY.num_edges:,} edges" in text
    for value in (evaluation().faithfulness, evaluation().completeness):
        assert f"{value:.3f}" in text
    low, high = evaluation().faithfulness_interval
    assert f"{low:.3f} to {high:.3f}" in text
    assert "Of 2 random connected circuits of its size 1 are as faithful or more: p = 0.667" in text
    assert "-0.500 to 0.250" in text  # the range of random circuits
    assert "0.938" in text
    assert "1 a1.h1 logits +3 2 input m0 +2 3 m0 a1.h1<q> -0.5" in text  # the strongest edges first


@pytest.mark.skipif(not dot_available(), reason="graphviz' program dot is not installed")
def test_both_pictures_are_there(page):
    labels = [attributes["aria-label"] for attributes in page.with_tag("svg")]
    assert len(labels) == 2
    assert labels[0].startswith("The circuit as a graph")
    assert labels[1].startswith("Faithfulness over circuit size for eap, plain, random")


def test_it_needs_nothing_beside_itself(page):
    names = {tag for tag, _ in page.tags}
    assert not names & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "image",
        "foreignobject",
        "base",
    }
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "http" not in (attributes.get("href") or "")
    assert "default-src 'none'" in page.with_tag("meta")[1]["content"]
    kinds = [attributes.get("type") for attributes in page.with_tag("script")]
    assert kinds == ["application/json", None, None]
    assert all("src" not in attributes for attributes in page.with_tag("script"))


EVIL = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style><script>alert(1)</script>",
    "</title></svg></pre><iframe>",
    "javascript:alert(1)",
    "--><!--",
    "&lt;b&gt; &#60;",
    "{{7*7}} {% x %} ${y}",
    "a\x00b\x1b[31m\u202e\ud800",
    "'; rm -rf / #\n`id` $(id)",
]


@pytest.mark.parametrize("text", EVIL)
def test_text_stays_text(tmp_path, text):
    write_readings(write_all(tmp_path, text), circuit(text), text)
    path = write_report(tmp_path, title=text)
    written = Page(report_page(load_results(tmp_path), str(tmp_path), text))
    write_readings(write_all(tmp_path), circuit())
    plain = Page(write_report(tmp_path).read_text())
    assert path.exists()
    drawn = {"svg", "g", "path", "text", "title", "use", "defs", "polygon", "ellipse", "clippath", "rect"}
    # The same elements as with plain text, but for those of the pictures, whose layout follows the text.
    assert [tag for tag, _ in written.tags if tag not in drawn] == [
        tag for tag, _ in plain.tags if tag not in drawn
    ]
    assert {name for _, each in written.tags for name in each} == {
        name for _, each in plain.tags for name in each
    }
    seen = "".join(char if char.isprintable() else " " for char in text)
    assert re.sub(r"\s+", " ", seen).strip() in written.text


@pytest.mark.parametrize("number", range(4))
def test_what_is_missing_is_said(number):
    evaluated, sizes = number % 2 == 1, number // 2 == 1
    results = Results(circuit(), evaluation() if evaluated else None, {}, comparison() if sizes else None)
    page = Page(report_page(results, "out"))
    assert ("kcircuits evaluate measures the circuit" in page.text) == (not evaluated)
    assert ("kcircuits sizes compares methods" in page.text) == (not sizes)


def test_without_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    page = Page(report_page(Results(circuit(), None, {}, None), "out"))
    assert "There is no picture because graphviz is not installed" in page.text
    assert page.with_tag("svg") == []


def test_an_empty_circuit_and_one_prompt():
    results = Results(circuit_of(TINY), evaluation(1, num_edges=0), {}, None)
    text = Page(report_page(results, "out")).text
    assert "The circuit has no edges" in text
    assert "One prompt gives no confidence intervals" in text
    assert "Some results do not record their model and prompts" in text


def test_only_scores_were_evaluated(tmp_path):
    write_all(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps({"model": {}, "curve": {}}))
    assert load_results(tmp_path).evaluation is None


FILES = ["circuit", "evaluation", "sizes", "curves", "heads", "roles", "comparison"]
FILES += ["hallucination", "icl", "knockout", "explain", "edits"]


@pytest.mark.parametrize("name", [f"{name}.json" for name in FILES])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"<html>", b'{"format": "kcircuits/9"}'])
def test_corrupt_files(tmp_path, name, content):
    write_all(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KCircuitsError, match=name):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_nothing_to_report(tmp_path):
    with pytest.raises(KCircuitsError, match=r"nothing to report: the folder has none of circuit\.json, "):
        write_report(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps({"model": {}, "curve": {}}))
    with pytest.raises(
        KCircuitsError, match=r"nothing to report: evaluation\.json does not measure a circuit"
    ):
        write_report(tmp_path)


READINGS = {
    "curves": "curves",
    "heads": "heads",
    "roles": "roles",
    "knockout": "knockout",
    "hallucination": "hallucination",
    "icl": "icl",
    "explain": "edit",
    "edits": "edits",
    "comparison": "overlap",
}


@pytest.mark.parametrize("name", [*READINGS, "evaluation", "sizes"])
def test_one_file_is_enough(tmp_path, name):
    made = tmp_path / "all"
    made.mkdir()
    write_readings(write_all(made), circuit())
    alone = tmp_path / "alone"
    alone.mkdir()
    (made / f"{name}.json").rename(alone / f"{name}.json")
    page = Page(write_report(alone).read_text())
    assert [each["id"] for each in page.with_tag("section")] == [READINGS.get(name, name), "repeat"]
    assert page.text.count("plain: results") == 2  # the title and the heading
    assert f"kcircuits report {alone}" in page.text
    with pytest.raises(KCircuitsError, match=r"there is no circuit\.json in .* to compare with"):
        write_report(alone, compare=made / "circuit.json")


def test_results_of_another_circuit_or_model(tmp_path):
    write_all(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation(num_edges=7).to_json()))
    with pytest.raises(KCircuitsError, match=r"evaluation\.json measures a circuit of 7 edges.* has 3"):
        load_results(tmp_path)
    circuit(model=identity_for(TINY, weights_hash="1" * 64)).save(tmp_path / "circuit.json")
    with pytest.raises(KCircuitsError, match=r"evaluation\.json: the evaluation was found in the model"):
        load_results(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(KCircuitsError, match=r"sizes\.json: the comparison of sizes was found in"):
        load_results(tmp_path)
    (tmp_path / "sizes.json").unlink()
    write_readings(tmp_path, circuit())
    for name, subject in [
        ("curves", "the curves were"),
        ("heads", "the heads were"),
        ("roles", "the roles were"),
        ("comparison", "the comparison of circuits was"),
        ("hallucination", "the errors were"),
        ("icl", "the in-context reading was"),
        ("knockout", "the effects of the knockout were"),
        ("explain", "the explanation of the edit was"),
        ("edits", "the measures of edits were"),
    ]:
        with pytest.raises(KCircuitsError, match=rf"{name}\.json: {subject} found in"):
            load_results(tmp_path)
        (tmp_path / f"{name}.json").unlink()


def test_an_old_report_survives_a_failure(tmp_path):
    path = write_report(write_all(tmp_path))
    before = path.read_bytes()
    (tmp_path / "sizes.json").write_text("{")
    with pytest.raises(KCircuitsError):
        write_report(tmp_path)
    assert path.read_bytes() == before


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_in_both_schemes():
    """WCAG 2 AA: 4.5 to 1 for text."""
    text = report_page(Results(circuit(), None, {}, None), "out")
    schemes = re.findall(r":root \{([^}]*)\}", text)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for ink in ("ink", "quiet", "link", "relation"):
            for paper in ("paper", "panel"):
                light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5
