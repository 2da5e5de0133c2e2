"""Edits in files: our own lines, CounterFact's and zsRE's records, and what is refused."""

from __future__ import annotations

import json

import pytest

from kcircuits.editing.records.reading import read_requests
from kcircuits.editing.request import EditRequest, Question
from kcircuits.errors import KCircuitsError

OURS = {
    "subject": "France",
    "prompt": "The capital of {} is",
    "target": "Rome",
    "target_true": "Paris",
    "paraphrases": ["France is ruled from"],
    "neighbours": [{"prompt": "The capital of Spain is", "answer": "Madrid"}],
}
COUNTERFACT = {
    "case_id": 0,
    "requested_rewrite": {
        "prompt": "The capital of {} is",
        "target_new": {"str": "Rome", "id": "Q220"},
        "target_true": {"str": "Paris", "id": "Q90"},
        "subject": "France",
    },
    "paraphrase_prompts": ["France is ruled from"],
    "neighborhood_prompts": ["The capital of Gaul was"],
}
ZSRE = {
    "subject": "France",
    "src": "What is the capital of France?",
    "pred": "Lyon",
    "rephrase": "Which city rules France?",
    "alt": "Rome",
    "answers": ["Paris"],
    "loc": "nq question: who wrote hamlet",
    "loc_ans": "Shakespeare",
}


def written(tmp_path, *records: object):
    path = tmp_path / "edits.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


def test_our_own_lines(tmp_path):
    assert read_requests(written(tmp_path, OURS)) == (
        EditRequest(
            "France",
            "The capital of France is",
            "Rome",
            "Paris",
            ("France is ruled from",),
            (Question("The capital of Spain is", "Madrid"),),
        ),
    )


def test_counterfact(tmp_path):
    path = tmp_path / "counterfact.json"
    path.write_text(json.dumps([COUNTERFACT, COUNTERFACT]))
    read = read_requests(path)
    assert len(read) == 2
    assert read[0].prompt == "The capital of France is"
    assert (read[0].target, read[0].target_true) == ("Rome", "Paris")
    assert read[0].neighbours == (Question("The capital of Gaul was", "Paris"),)


@pytest.mark.parametrize("inside", [True, False])
def test_counterfact_may_call_its_subject_an_entity(tmp_path, inside):
    rewrite = {key: value for key, value in COUNTERFACT["requested_rewrite"].items() if key != "subject"}
    if inside:
        record = {**COUNTERFACT, "requested_rewrite": {**rewrite, "entity": "France"}}
    else:
        record = {**COUNTERFACT, "requested_rewrite": rewrite, "entity": "France"}
    assert read_requests(written(tmp_path, record)) == read_requests(written(tmp_path, COUNTERFACT))


def test_portability_of_zsre_and_counterfact(tmp_path):
    added = {
        "portability": {"Recalled Relation": "x", "New Question": "Whose is Rome?", "New Answer": "Italy"}
    }
    for read in read_requests(written(tmp_path, ZSRE | added, COUNTERFACT | added)):
        assert read.portability == (Question("Whose is Rome?", "Italy"),)
    read = read_requests(
        written(tmp_path, ZSRE | {"portability": {"New Question": "Whose?", "New Answer": ""}})
    )
    assert [(each.whole, each.reason) for each in read.left_out] == [
        (False, "a question of 'portability' has no prompt or no answer")
    ]


def test_mquake(tmp_path):
    first = {**COUNTERFACT["requested_rewrite"], "question": "What is the capital of France?"}
    second = {
        "prompt": "{} lies in",
        "subject": "Rome",
        "target_new": {"str": "Spain"},
        "target_true": {"str": "Italy"},
    }
    hops = {"questions": ["Where does the capital of France lie?"], "answer": "France", "new_answer": "Spain",
            "new_answer_alias": ["Kingdom of Spain"]}  # fmt: skip
    one, two = read_requests(written(tmp_path, {"requested_rewrite": [first, second], **hops}))
    assert (one.prompt, one.target, one.target_true) == ("The capital of France is", "Rome", "Paris")
    assert (one.paraphrases, one.portability) == (("What is the capital of France?",), ())
    assert (two.prompt, two.target) == ("Rome lies in", "Spain")
    assert two.portability == (Question("Where does the capital of France lie?", "Spain"),)
    assert (one.together, two.together) == (False, True)
    (alone,) = read_requests(written(tmp_path, {"requested_rewrite": [first], **hops}))
    assert alone.portability and not alone.together


def test_knowedit(tmp_path):
    record = {
        "subject": "France",
        "prompt": "The capital of France is",
        "target_new": "Rome",
        "ground_truth": ["Paris", "Paname"],
        "rephrase_prompt": "France is ruled from",
        "portability": {
            "Reasoning": [{"prompt": "The mayor of it is", "ground_truth": [["Ada", "A. L."], ["Bo"]]}],
            "Subject_Aliasing": [{"prompt": "The capital of Gaul is", "ground_truth": "Rome"}],
        },
        "locality": {
            "Relation_Specificity": [{"prompt": "France lies in", "ground_truth": [["Europe"]]}],
            "Forgetfulness": [{"prompt": "It was", "ground_truth": []}],
        },
    }
    flat = {
        "case_id": 1,
        "subject": "France",
        "prompt": "The capital of {} is",
        "target_new": "Rome",
        "ground_truth": "<|endoftext|>",
        "locality_prompt": "France lies in",
        "locality_ground_truth": "Europe",
    }
    biography = {
        "text": "This is about ada b.",
        "concept": "ada b",
        "labels": "She was a poet.",
        "locality": {},
    }
    read = read_requests(written(tmp_path, record, flat, biography))
    assert (read[0].target, read[0].target_true) == ("Rome", "Paris")
    assert read[1].target_true is None
    assert read[0].paraphrases == ("France is ruled from",)
    assert read[0].portability == (
        Question("The mayor of it is", "Ada"),
        Question("The capital of Gaul is", "Rome"),
    )
    assert read[0].neighbours == read[1].neighbours == (Question("France lies in", "Europe"),)
    assert (read[2].subject, read[2].target, read[2].target_true) == ("ada b", "She was a poet.", None)
    assert [each.reason for each in read.left_out] == [
        "a question of 'Forgetfulness' has no prompt or no answer"
    ]


def ripple(sentence: str, relation: str, old: str | None = None, **tests: object) -> dict[str, object]:
    edit = {"prompt": sentence, "subject_id": "Q1", "relation": relation, "target_id": "Q2"}
    return {
        "example_type": "popular",
        "edit": edit | ({"original_fact": {"prompt": old}} if old else {}),
        **tests,
    }


@pytest.mark.parametrize(
    ("sentence", "relation", "subject", "prompt", "target"),
    [
        ("The name of the country of citizenship of Ada de Lo is Syria.", "COUNTRY_OF_CITIZENSHIP",
         "Ada de Lo", "The name of the country of citizenship of Ada de Lo is", "Syria"),
        ("The name of the continent which Peru is part of is Asia.", "CONTINENT", "Peru",
         "The name of the continent which Peru is part of is", "Asia"),
        ("The names of the siblings of Bo are J. R. Fox Jr..", "SIBLING", "Bo",
         "The names of the siblings of Bo are", "J. R. Fox Jr."),
        ("The Hobbit follows Emma.", "FOLLOWS", "The Hobbit", "The Hobbit follows", "Emma"),
        ("The name of the author of The Hobbit is Bo.", "AUTHOR", "The Hobbit",
         "The name of the author of The Hobbit is", "Bo"),
        ("The place of birth of 50 Cent is Lima.", "PLACE_OF_BIRTH", "50 Cent",
         "The place of birth of 50 Cent is", "Lima"),
    ],
)  # fmt: skip
def test_ripple_edits_sentences(tmp_path, sentence, relation, subject, prompt, target):
    (read,) = read_requests(written(tmp_path, ripple(sentence, relation)))
    assert (read.subject, read.prompt, read.target) == (subject, prompt, target)


def test_ripple_edits_tests(tmp_path):
    def test(prompt: str, *answers: str) -> dict[str, object]:
        query = {"prompt": prompt, "answers": [{"value": answer, "aliases": ["x"]} for answer in answers]}
        return {"test_queries": [query], "test_condition": "OR", "condition_queries": []}

    record = ripple(
        "The gender of Ada is male.",
        "SEX_OR_GENDER",
        "The gender of Ada is female.",
        Relation_Specificity=[test("The mother of Ada is", "Eve", "Mum"), test("The aunt of Ada is")],
        Forgetfulness=[],
        Compositionality_I=[test("The gender of the poet is", "male")],
        Subject_Aliasing=[test("The gender of Countess Ada is", "male")],
    )
    read = read_requests(written(tmp_path, record))
    assert read[0].target_true == "female"
    assert read[0].neighbours == (Question("The mother of Ada is", "Eve"),)
    assert read[0].portability == (
        Question("The gender of Countess Ada is", "male"),
        Question("The gender of the poet is", "male"),
    )
    assert [each.reason for each in read.left_out] == ["a question of 'Relation_Specificity' has no answer"]


def test_known_facts_are_no_edits_unless_they_have_a_new_object(tmp_path):
    fact = {"known_id": 0, "subject": "France", "attribute": "Paris", "template": "The capital of {} is",
            "prediction": " Paris", "prompt": "The capital of France is", "relation_id": "P36"}  # fmt: skip
    with pytest.raises(KCircuitsError, match="add a 'target', or use the file as --prompts"):
        read_requests(written(tmp_path, fact))
    (read,) = read_requests(written(tmp_path, fact | {"target": "Rome"}))
    assert (read.prompt, read.target, read.target_true) == ("The capital of France is", "Rome", "Paris")


@pytest.mark.parametrize(
    ("key", "meant"),
    [("neighbors", "neighbours"), ("paraphrase", "paraphrases"), ("target_True", "target_true")],
)
def test_a_misspelt_key_refuses_the_file(tmp_path, key, meant):
    with pytest.raises(KCircuitsError, match=rf"line 2: unknown key '{key}': did you mean '{meant}'\?"):
        read_requests(written(tmp_path, OURS, {**OURS, key: []}))


def test_other_keys_of_ours_are_said_not_to_be_read(tmp_path):
    read = read_requests(written(tmp_path, {**OURS, "id": 1}, {**OURS, "id": 2}, {"question": "x"}))
    assert len(read) == 2
    assert read.left_out_lines() == [
        "the key 'id' is not read (2 times): line 1, line 2",
        "1 record left out: a record of an unknown format: line 3",
    ]


def test_a_line_that_is_no_json_is_left_out(tmp_path):
    read = read_requests(written_lines(tmp_path, json.dumps(OURS), "{", json.dumps(OURS)))
    assert [(each.where, each.reason) for each in read.left_out] == [("line 2", "not JSON")]


def test_separators_inside_texts_do_not_end_a_line(tmp_path):
    line = json.dumps({**OURS, "paraphrases": ["a\u2028b\x85c"]}, ensure_ascii=False)
    assert read_requests(written_lines(tmp_path, line))[0].paraphrases == ("a\u2028b\x85c",)


def written_lines(tmp_path, *lines: str):
    path = tmp_path / "edits.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_zsre(tmp_path):
    (read,) = read_requests(written(tmp_path, ZSRE))
    assert (read.target, read.target_true) == ("Rome", "Paris")
    assert read.paraphrases == ("Which city rules France?",)
    assert read.neighbours == (Question("who wrote hamlet", "Shakespeare"),)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (5, "JSON object"),
        ({**OURS, "subject": "Spain", "prompt": "The capital of France is"}, "does not occur"),
        ({**OURS, "target": " "}, "'target' is empty"),
        ({**OURS, "target": "Paris"}, "already the true object"),
        ({**OURS, "target": 3}, "'target' must be text"),
        ({**OURS, "paraphrases": "one"}, "list of texts"),
        ({**OURS, "neighbours": ["one"]}, "neighbours"),
        ({**OURS, "neighbours": [{"prompt": "x"}]}, "'answer' must be text"),
        ({"requested_rewrite": 1}, "must be an object"),
        ({**COUNTERFACT, "requested_rewrite": {"subject": "France"}}, "target_new"),
        ({**ZSRE, "alt": None}, "'alt' must be text"),
    ],
)
def test_bad_records(tmp_path, record, message):
    with pytest.raises(KCircuitsError, match=message) as error:
        read_requests(written(tmp_path, record))
    assert "line 1" in str(error.value)
    read = read_requests(written(tmp_path, OURS, record, OURS, record))
    assert len(read) == 2  # one odd record does not refuse the others
    assert [(each.where, each.whole) for each in read.left_out] == [("line 2", True), ("line 4", True)]
    assert message in read.left_out[0].message
    (line,) = read.left_out_lines()
    assert line.startswith("2 records left out: ") and line.endswith(": line 2, line 4")


def test_files_that_hold_no_edit(tmp_path):
    for content, message in (("", "no edits"), ("[]", "no edits"), ("{", "not JSON"), ("[{]", "not JSON")):
        path = tmp_path / "edits"
        path.write_text(content)
        with pytest.raises(KCircuitsError, match=message):
            read_requests(path)
    with pytest.raises(KCircuitsError):
        read_requests(tmp_path / "missing.jsonl")
