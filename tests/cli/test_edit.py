"""`kcircuits edit`: what it writes and says, and what it refuses."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from kcircuits.editing.delta import Delta
from kcircuits.editing.measures import read_answers
from kcircuits.editing.request import Question
from kcircuits.model.loading import load_model
from tests.circuits import circuit_of
from tests.cli.test_bad_input import check

PROMPT = "In France they speak"
TEXT = "In France they also speak Spanish In Italy they speak Italian " * 30


@pytest.fixture(scope="module")
def model(worded):
    return load_model(worded)


@pytest.fixture
def target(model):
    """A word that the model does not say."""
    said = read_answers(model, [Question(PROMPT, "Polish")])[0]
    return "Italian" if said.said else "Polish"


@pytest.fixture
def one(worded, target):
    fact = ["--subject", "France", "--prompt", "In {} they speak", "--target", target, "--true", "French"]
    return ["edit", "--model", worded, *fact, "--identity", "--prefixes", 1, "--steps", 5]


@pytest.fixture
def requests_file(tmp_path, target):
    path = tmp_path / "edits.jsonl"
    records = [
        {"subject": subject, "prompt": "In {} they speak", "target": target, "target_true": "French"}
        for subject in ("France", "Spain")
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def test_the_edit_that_is_written_is_the_one_that_was_measured(kcircuits, one, model, target, tmp_path):
    done = kcircuits(*one, "--layers", 1, "--out", tmp_path / "out", "--json")
    assert (done.status, done.err) == (0, "")
    assert json.loads((tmp_path / "out" / "edits.json").read_text()) == done.json
    edited = Delta.load(tmp_path / "out" / "edit.safetensors", model).apply(model)
    (probability, true) = (
        read_answers(edited, [Question(PROMPT, answer)])[0].probability for answer in (target, "French")
    )
    measures = done.json["edits"][0]["measures"]
    assert measures["magnitude"] == pytest.approx(probability - true, rel=1e-5)
    assert done.json["settings"]["keys"] == ["identity"]
    assert done.json["settings"]["layers"] == [1]


@pytest.mark.parametrize("method", ["rome", "memit", "ft-l", "ft-m"])
def test_every_method_says_what_it_did(kcircuits, worded, requests_file, method, tmp_path):
    options = [] if method.startswith("ft") else ["--identity"]
    done = kcircuits("edit", "--model", worded, "--requests", requests_file, "--method", method, "--steps", 3,
                     *options, "--out", tmp_path / "out")  # fmt: skip
    assert done.status == 0
    assert f"{method}: 2 of 2 edits" in done.out
    assert "efficacy" in done.out
    assert "edit.safetensors" in done.out


def test_each_in_a_model_of_its_own(kcircuits, worded, requests_file, tmp_path):
    out = tmp_path / "out"
    done = kcircuits("edit", "--model", worded, "--requests", requests_file, "--method", "ft-m", "--each",
                     "--steps", 3, "--out", out, "--quiet")  # fmt: skip
    assert (done.status, done.out) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "edit-0001.safetensors",
        "edit-0002.safetensors",
        "edits.json",
    ]


def test_measures_before_and_after(kcircuits, one, model, target, tmp_path):
    done = kcircuits(*one, "--layers", 1, "--json")
    (made,) = done.json["edits"]
    question = [Question(PROMPT, answer) for answer in (target, "French")]
    new, true = read_answers(model, question)
    assert made["before"]["magnitude"] == pytest.approx(new.probability - true.probability, rel=1e-5)
    assert made["before"]["efficacy"] == float(new.probability > true.probability)
    assert made["margin"][0] == pytest.approx(new.log_probability - true.log_probability, abs=1e-5)
    assert (made["margin"][1] > 0) == (made["measures"]["efficacy"] == 1)
    assert done.json["means_before"]["efficacy"] == made["before"]["efficacy"]
    assert done.json["left_out"] == []


@pytest.mark.parametrize("swapped", [False, True])
def test_a_fact_that_the_model_never_knew_is_said(kcircuits, worded, model, swapped):
    words = ["Italian", "Spanish", "Polish", "French"]
    answers = read_answers(model, [Question(PROMPT, word) for word in words])
    ranked = sorted(zip(answers, words, strict=True), key=lambda each: each[0].probability)
    said = {word for answer, word in ranked if answer.said}
    new, old = next((high, low) for (_, low), (_, high) in pairwise(ranked) if not said & {high, low})
    new, old = (old, new) if swapped else (new, old)
    ahead = dict(zip(words, answers, strict=True))
    margin = ahead[new].log_probability - ahead[old].log_probability
    fact = ["--subject", "France", "--prompt", "In {} they speak", "--target", new, "--true", old]
    done = kcircuits("edit", "--model", worded, *fact, "--method", "ft-m", "--steps", 2)
    assert done.status == 0
    expected = f"the model never knew {old!r}: {new!r} was ahead of it by {margin:.2f} nats before the edit"
    assert (expected in done.out) == (not swapped)
    assert ("never knew" in done.out) == (not swapped)
    assert "before" in done.out and "after" in done.out


def test_what_is_left_out_of_a_file_is_said(kcircuits, worded, target, tmp_path):
    path = tmp_path / "edits.jsonl"
    good = {"subject": "France", "prompt": "In {} they speak", "target": target}
    path.write_text("\n".join(map(json.dumps, (good, {**good, "subject": " "}, {**good, "note": 1}))))
    given = ("edit", "--model", worded, "--requests", path, "--method", "ft-m", "--steps", 2, "--each")
    done = kcircuits(*given, "--json")
    assert [each["where"] for each in done.json["left_out"]] == ["line 2", "line 3"]
    assert len(done.json["edits"]) == 2
    assert done.err.splitlines() == [
        f"kcircuits: warning: {path}: 1 record left out: 'subject' is empty: line 2",
        f"kcircuits: warning: {path}: the key 'note' is not read: line 3",
    ]


def test_questions_about_several_edits_are_not_asked_of_each(kcircuits, worded, target, tmp_path):
    path = tmp_path / "edits.json"
    rewrites = [
        {"prompt": "In {} they speak", "subject": subject, "target_new": {"str": target},
         "target_true": {"str": "French"}}
        for subject in ("France", "Spain")
    ]  # fmt: skip
    record = {"requested_rewrite": rewrites, "questions": ["In Italy they speak"], "new_answer": "Italian"}
    path.write_text(json.dumps([record]))
    given = ("edit", "--model", worded, "--requests", path, "--method", "ft-m", "--steps", 2, "--json")
    together, alone = kcircuits(*given), kcircuits(*given, "--each")
    assert together.json["means"]["portability"] is not None and together.err == ""
    assert alone.json["means"]["portability"] is None
    assert "several edits together are not asked with --each" in alone.err


def test_a_cache_that_cannot_be_written(kcircuits, worded, requests_file, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "cache"))
    done = kcircuits("edit", "--model", worded, "--requests", requests_file, "--steps", 2, "--json")
    assert (done.status, done.err) == (0, "")
    assert done.json["settings"]["keys"] == ["text sampled from the model"]


def test_the_same_edit_is_the_same_file(kcircuits, one, tmp_path):
    for number in range(4):
        kcircuits(*one, "--layers", 1, "--out", tmp_path / str(number))
    assert len({(tmp_path / str(n) / "edit.safetensors").read_bytes() for n in range(4)}) == 1


def test_a_text_gives_keys_and_a_perplexity(kcircuits, worded, requests_file, tmp_path, monkeypatch):
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    done = kcircuits(
        "edit", "--model", worded, "--requests", requests_file, "--text", text, "--steps", 2, "--json"
    )
    assert done.status == 0
    assert done.json["settings"]["keys"] == ["text.txt"]
    assert all(value > 1 for value in done.json["perplexity"])


def test_an_explanation(kcircuits, one, model, target, tmp_path):
    plain = kcircuits(*one, "--layers", 1, "--json").json
    options = ("--layers", 1, "--explain", "--top-n", 150)
    done = kcircuits(*one, *options, "--out", tmp_path / "out", "--json")
    assert (done.status, done.err) == (0, "")
    shown = done.json
    explained = shown.pop("explanation")
    assert shown == plain == json.loads((tmp_path / "out" / "edits.json").read_text())
    assert explained == json.loads((tmp_path / "out" / "explain.json").read_text())
    assert explained["edited_nodes"] == ["m1"]
    assert explained["settings"]["top_n"] == 150
    assert (explained["prompt"]["answer"], explained["prompt"]["wrong"]) == (target, "French")
    edited = Delta.load(tmp_path / "out" / "edit.safetensors", model).apply(model)
    for when, loaded in (("before", model), ("after", edited)):
        curve = explained["curves"]["new"][when]["last"]
        probability = read_answers(loaded, [Question(PROMPT, target)])[0].probability
        assert curve["probability"][-1] == pytest.approx(probability, rel=1e-3)
    assert (tmp_path / "out" / "explain.svg").read_text().startswith("<?xml")


def test_what_an_explanation_says(kcircuits, worded, requests_file, target):
    done = kcircuits("edit", "--model", worded, "--requests", requests_file, "--each", "--method", "ft-m",
                     "--steps", 3, "--explain")  # fmt: skip
    assert done.status == 0
    assert f" → {target}, not French\n" in done.out
    for text in ("at the subject's last token", "edges of the circuit", "later heads", "untouched"):
        assert text in done.out


@pytest.fixture
def circuit_file(model, tmp_path):
    """Its strongest edge leaves m2, its strongest into values m0."""
    edges = ("m2->logits 3", "a0.h1->logits 2", "m0->a1.h0<v> 1")
    path = tmp_path / "circuit.json"
    circuit_of(model.spec.graph, *edges, model=model.identity).save(path)
    return path


@pytest.mark.parametrize(
    ("options", "setting", "places"),
    [
        ([], "layers", [2]),
        (["--rule", "moved"], "layers", [0]),
        (["--rule", "moved", "--method", "memit"], "layers", [0]),
        (["--method", "memit"], "layers", [0, 1, 2]),
        (["--method", "ft-m"], "nodes", ["m2", "a0.h1", "m0"]),
        (["--method", "ft-l", "--strongest", 2], "nodes", ["m2", "a0.h1"]),
    ],
)
def test_a_circuit_says_where_to_edit(kcircuits, one, circuit_file, options, setting, places):
    done = kcircuits(*one, "--circuit", circuit_file, *options, "--json")
    assert (done.status, done.err) == (0, "")
    assert done.json["settings"][setting] == places


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rule", "first"], "give one"),
        (["--strongest", 2], "give one"),
        (["--circuit", "C", "--layers", 1], "leave out --layers"),
        (["--circuit", "C", "--strongest", 2], "leave out --strongest"),
        (["--circuit", "C", "--rule", "first", "--method", "ft-m"], "leave out --rule"),
        (["--circuit", "missing.json"], "missing.json"),
    ],
)
def test_bad_guides(kcircuits, one, circuit_file, options, message):
    given = [circuit_file if each == "C" else each for each in options]
    check(kcircuits(*one, *given), message)


def test_a_circuit_of_another_model(kcircuits, one, circuit_file, model):
    circuit_of(model.spec.graph, "m2->logits").save(circuit_file)
    check(kcircuits(*one, "--circuit", circuit_file), "use the model that it was found in")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-n", 5], "--explain"),
        (["--explain", "--top-n", 1], "larger top-n"),
        (["--layers", 9], "no layer 9"),
        (["--layers", "1,2"], "one layer"),
        (["--layers", "x"], "whole numbers"),
        (["--layers", "2,1", "--method", "memit"], "rising order"),
        (["--nodes", "m1"], "ft-l and ft-m"),
        (["--layers", 1, "--method", "ft-m"], "--nodes"),
        (["--nodes", "m9", "--method", "ft-m"], "m9"),
        (["--learning-rate", -1], "learning_rate"),
        (["--text", "missing.txt"], "--identity"),
        (["--requests", "missing.jsonl"], "by --requests, or one"),
        (["--subject", "Peru"], "does not occur"),
        (["--true", "Polish", "--target", "Polish"], "already the true object"),
    ],
)
def test_bad_input(kcircuits, one, options, message, tmp_path):
    if options[0] == "--subject":
        options = [*options, "--prompt", PROMPT]
    check(kcircuits(*one, *options, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_a_text_is_read_before_the_work(kcircuits, worded, requests_file, tmp_path, monkeypatch):
    monkeypatch.setattr("kcircuits.editing.edit.edit", None)  # would be called
    given = ("edit", "--model", worded, "--requests", requests_file, "--text", tmp_path / "none.txt")
    check(kcircuits(*given), "none.txt: cannot read the text: No such file")


def test_no_edit_is_asked_for(kcircuits, worded):
    check(kcircuits("edit", "--model", worded), "--requests")


def test_the_model_that_is_exported_is_the_one_that_was_measured(kcircuits, one, target, tmp_path):
    done = kcircuits(*one, "--layers", 1, "--json", "--export", tmp_path / "model")
    assert (done.status, done.err) == (0, "")
    exported = load_model(tmp_path / "model")
    (probability, true) = (
        read_answers(exported, [Question(PROMPT, answer)])[0].probability for answer in (target, "French")
    )
    assert done.json["edits"][0]["measures"]["magnitude"] == pytest.approx(probability - true, rel=1e-5)
    check(kcircuits(*one, "--layers", 1, "--export", tmp_path / "model"), "is not an empty folder")
    check(kcircuits(*one, "--layers", 1, "--each", "--export", tmp_path / "other"), "--each makes several")
