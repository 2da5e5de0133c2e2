"""Pictures of readings: what is in them, in every format, and the same each time."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from kcircuits.analysis.curves.plot import draw_curves
from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.hallucination.plot import draw_hallucinations
from kcircuits.analysis.hallucination.reading import hallucinations
from kcircuits.analysis.heads.plot import draw_heads
from kcircuits.analysis.heads.reading import read_heads
from kcircuits.analysis.in_context.plot import draw_in_context
from kcircuits.analysis.in_context.reading import in_context_learning
from kcircuits.analysis.roles.plot import draw_roles
from kcircuits.analysis.roles.reading import head_roles
from kcircuits.data.few_shot import few_shot_pairs
from kcircuits.discovery import Eap
from kcircuits.editing.edit import edit
from kcircuits.editing.explain import explain_edit
from kcircuits.editing.explanation_plot import MOST_NODES, draw_explanation
from kcircuits.editing.methods import FineTuning
from kcircuits.errors import KCircuitsError
from kcircuits.scores.selection import Selection
from kcircuits.task import Task
from tests.analysis.models import PROMPTS, model_of, some_circuit
from tests.analysis.planted import planted_prompts, planted_spec
from tests.analysis.test_in_context import RELATION, WORDS
from tests.covers import every_value
from tests.data.tiny_tokenizers import word_tokenizer
from tests.editing.conftest import model_named, request

SVG = "{http://www.w3.org/2000/svg}"


def curves():
    model = model_of("llama_gqa")
    return layer_curves(model, Task(PROMPTS, "corrupt"), some_circuit(model))


def heads():
    model = model_of("llama_gqa")
    return read_heads(model, Task(PROMPTS), some_circuit(model, ablation="zero"))


def roles():
    return head_roles(model_of(planted_spec()), Task(planted_prompts(), "zero"), draws=2)


def errors():
    prompts = [replace(prompt, wrong_id=None) for prompt in PROMPTS]
    return hallucinations(model_of("llama_gqa"), Task(prompts))


def in_context(top_n: int = 25):
    model = replace(model_of("llama_gqa"), tokenizer=word_tokenizer(WORDS))
    pairs = few_shot_pairs(RELATION, model.tokenizer, 61, 64, shots=1)
    return in_context_learning(model, pairs, Eap(), selection=Selection(top_n=top_n), draws=2)


def explanation():
    made = edit(model_named("llama_gqa"), [request()], FineTuning("masked", ("m1",)))
    return explain_edit(made)


PICTURES = {
    "curves": (curves, draw_curves, ("rank of the answer", "last position, circuit", "subject, full model")),
    "heads": (heads, draw_heads, ("added to the answer's logit", "layer", "MLP")),
    "roles": (roles, draw_roles, ("mover heads", "random heads", "a0.h0", "logit from the subject")),
    "errors": (errors, draw_hallucinations, ("right answer", "wrong answer", "overtaken for good")),
    "in context": (in_context, draw_in_context, ("objects of examples", "without added heads", "few-shot")),
    "explanation": (
        explanation,
        draw_explanation,
        ("Norway, before", "France, after", "edited layers", "m1"),
    ),
    "nothing added": (lambda: in_context(10**6), draw_in_context, ("no heads were added", "zero-shot")),
}


def texts_of(path) -> str:
    return " ".join("".join(element.itertext()) for element in ET.parse(path).iter(f"{SVG}text"))


@every_value(name=list(PICTURES), kind=["svg", "png", "pdf"])
def test_every_picture(name, kind, tmp_path):
    made, draw, texts = PICTURES[name]
    reading = made()
    draw(reading, tmp_path / "a.svg")
    for text in texts:
        assert text in texts_of(tmp_path / "a.svg")
    for file in ("b", "c"):
        draw(reading, tmp_path / f"{file}.{kind}")
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[kind]
    assert (tmp_path / f"b.{kind}").read_bytes().startswith(start)
    assert (tmp_path / f"b.{kind}").read_bytes() == (tmp_path / f"c.{kind}").read_bytes()
    with pytest.raises(KCircuitsError, match=r"must end in \.svg, \.png or \.pdf"):
        draw(reading, tmp_path / "a.gif")


def test_curves_are_the_means():
    reading = curves()
    left, right = (reading.plot(Figure().subplots(), panel) for panel in ("rank", "probability"))
    lines = {line.get_label(): line for line in left.get_lines()}
    band = reading.summary("circuit")["subject_best_rank"]
    assert lines["subject, circuit"].get_ydata().tolist() == band.mean.tolist()
    assert lines["subject, circuit"].get_xdata().tolist() == list(reading.layers)
    assert left.get_yscale() == "log"
    assert left.yaxis_inverted()
    assert right.get_ylim()[0] == 0


def test_the_map_of_heads_is_the_mean_over_prompts():
    reading = heads()
    (image,) = reading.plot(Figure().subplots(), "logits").get_images()
    graph = reading.graph
    shown = image.get_array()
    assert shown.shape == (graph.num_layers, graph.num_heads + 1)
    assert shown[1, 2] == pytest.approx(reading.direct[graph.sender_index("a1.h2")].mean())
    assert shown[2, -1] == pytest.approx(reading.direct[graph.sender_index("m2")].mean())


def test_an_explanation_shows_every_rank_and_the_greatest_changes():
    found = explanation()
    left, middle, right = (found.plot(Figure().subplots(), panel) for panel in ("subject", "last", "nodes"))
    for axes, place in ((left, "subject"), (middle, "last")):
        lines = {line.get_label(): line for line in axes.get_lines()}
        for name, curves in (("Norway", found.new), ("France", found.old)):
            for when in ("before", "after"):
                curve = getattr(getattr(curves, when), place)
                assert lines[f"{name}, {when}"].get_ydata().tolist() == list(curve.rank)
        assert lines["edited layers"].get_xdata() == [2, 2]
        assert axes.get_yscale() == "log"
        assert axes.yaxis_inverted()
        shown = [
            rank for line in lines.values() for rank in line.get_ydata() if line is not lines["edited layers"]
        ]
        assert min(axes.get_ylim()) <= min(shown) <= max(shown) <= max(axes.get_ylim())
    widths = sorted(bar.get_width() for bar in right.patches)
    strongest = sorted(found.changes, key=lambda each: -abs(each.change))[:MOST_NODES]
    assert widths == sorted(each.change for each in strongest)
    assert [label.get_text() for label in right.get_yticklabels()] == [each.node for each in strongest]


def test_hostile_text(tmp_path):
    reading = heads()
    text = replace(reading.prompts[0], tokens=("</svg>", "$x_", "\u202e\x00", "&", "ü"))
    draw_heads(replace(reading, prompts=(text, *reading.prompts[1:])), tmp_path / "a.svg")
    shown = texts_of(tmp_path / "a.svg")
    assert "</svg>" in shown
    assert "$x_" in shown
    assert "\u202e" not in shown
