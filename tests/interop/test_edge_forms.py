"""The forms that people's lists of edges have: arrows, tables, tuples, JSON; each says the same circuit."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.interop.edge_lists import read_edge_list
from kcircuits.interop.table import circuit_table, write_csv
from tests.circuits import circuit_of, identity_for, scores_for

FULL, GROUPED = Graph(4, 8, 8), Graph(4, 8, 4)
EXPECTED = {"a1.h2->a3.h5<q>": 0.5, "input->m2": -1.0, "m2->logits": 2.0}
UNSCORED = dict.fromkeys(EXPECTED, 1.0)


@pytest.fixture
def read(tmp_path):
    def call(content: object, graph: Graph = FULL, **options: object) -> dict[str, float]:
        path = tmp_path / "edges"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return edges_of(read_edge_list(path, identity_for(graph), **options))

    return call


def edges_of(circuit: Circuit) -> dict[str, float]:
    return {f"{edge.sender}->{edge.receiver}": edge.score for edge in circuit.edges}


LINES = {
    "arrow": "a1.h2->a3.h5<q> 0.5\ninput->m2 -1\nm2->logits 2",
    "spaces": "a1.h2 -> a3.h5<q> 0.5\ninput -> m2 -1\nm2  ->  logits  2.0",
    "long arrow": "a1.h2 --> a3.h5<q> 0.5\ninput => m2 -1\nm2 → logits 2",
    "unicode": "a1.h2→a3.h5<q>\t0.5\ninput → m2, -1\nm2 ⟶ logits: 2",
    "colon": "a1.h2->a3.h5<q>: 0.5\ninput->m2 : -1\nm2->logits = 2",
    "comma": "a1.h2->a3.h5<q>,0.5\ninput->m2, -1\nm2->logits ,2e0",
    "columns by commas": "a1.h2,a3.h5<q>,0.5\ninput, m2, -1\nm2,logits,2",
    "columns by tabs": "a1.h2\ta3.h5<q>\t0.5\ninput\tm2\t-1\nm2\tlogits\t2",
    "columns by semicolons": "a1.h2;a3.h5<q>;0.5\ninput;m2;-1\nm2;logits;2",
    "columns by spaces": "a1.h2 a3.h5<q> 0.5\ninput m2 -1\nm2 logits 2",
    "quotes": '"a1.h2->a3.h5<q>",0.5\n"input","m2",-1\n"m2->logits",2',
    "comments": "# found by hand\n\n a1.h2->a3.h5<q> 0.5  # the mover\n\t\ninput->m2 -1\nm2->logits 2\n",
    "windows": "\ufeffa1.h2->a3.h5<q> 0.5\r\ninput->m2 -1\r\nm2->logits 2\r\n",
    "old mac": "a1.h2->a3.h5<q> 0.5\rinput->m2 -1\rm2->logits 2\r",
    "mixed namings": "A1.2->a3.h5<q> 0.5\nResid Start->blocks.2.hook_mlp_in -1\nm2->logits 2",
    "hooks by commas": (
        "blocks.1.attn.hook_result[:, :, 2],blocks.3.hook_q_input[:, :, 5],0.5\n"
        "hook_embed[:],blocks.2.hook_mlp_in[:],-1\nblocks.2.hook_mlp_out[:],blocks.3.hook_resid_post[:],2"
    ),
    "COL": (
        "blocks.1.attn.hook_result[COL, COL, 2] -> blocks.3.hook_q_input[COL,COL,5] 0.5\n"
        "hook_embed[COLON] -> blocks.2.hook_mlp_in[None] -1\n"
        "blocks.2.hook_mlp_out -> blocks.3.hook_resid_post 2"
    ),
    "EAP prints": (
        "head.1.2 -> [0.5] -> head.3.5.q\nresid_pre.0 -> [-1.0] -> mlp.2\nmlp.2 -> [2] -> resid_post.3"
    ),
    "Edge Pruning": "a1.h2 -> a3.h5.q 0.5\nembeds -> m2 -1\nm2 -> resid_post 2",
    "header": "src,dst,score\na1.h2,a3.h5<q>,0.5\ninput,m2,-1\nm2,logits,2",
    "other header": "Source;Target;Weight\na1.h2;a3.h5<q>;0.5\ninput;m2;-1\nm2;logits;2",
    "header of tabs": "score\tto\tfrom\n0.5\ta3.h5<q>\ta1.h2\n-1\tm2\tinput\n2\tlogits\tm2",
    "header of spaces": "src dst score\na1.h2 a3.h5<q> 0.5\ninput m2 -1\nm2 logits 2",
    "edge column": ",edge,score\n0,a1.h2->a3.h5<q>,0.5\n1,input->m2,-1\n2,m2->logits,2",
    "kind column": "source,target,qkv,weight\na1.h2,a3.h5,q,0.5\ninput,m2,,-1\nm2,logits,,2",
    "in_graph": (
        "src,dst,score,in_graph\na1.h2,a3.h5<q>,0.5,True\ninput,m2,-1,1\nm0,m1,9,False\nm2,logits,2,true"
    ),
    "quoted hooks": (
        'source,target,weight\n"blocks.1.attn.hook_result[:, :, 2]","blocks.3.hook_q_input[:, :, 5]",0.5\n'
        '"hook_embed[:]","blocks.2.hook_mlp_in[:]",-1\nblocks.2.hook_mlp_out,blocks.3.hook_resid_post,2'
    ),
    "ACDC prints": (
        "('blocks.3.hook_q_input', [:, :, 5], 'blocks.1.attn.hook_result', [:, :, 2]) 0.5\n"
        "(('blocks.2.hook_mlp_in', [:], 'hook_embed', [:]), tensor(-1., device='cuda:0'))\n"
        '["blocks.3.hook_resid_post", [COL], "blocks.2.hook_mlp_out", [COL], 2]\n'
        "('blocks.3.attn.hook_q', [:, :, 5], 'blocks.3.hook_q_input', [:, :, 5]) 7\n"
    ),
    "ACDC prints a list": (
        "[(('blocks.3.hook_q_input', (None, None, 5), 'blocks.1.attn.hook_result', (None, None, 2)), 0.5),\n"
        " (('blocks.2.hook_mlp_in', (None,), 'hook_embed', (slice(None, None, None),)), np.float64(-1.0)),\n"
        " (('blocks.3.hook_resid_post', [COLON], 'blocks.2.hook_mlp_out', [:]), 2)]"
    ),
    "tuples": "[('a1.h2', 'a3.h5<q>', 0.5), ('input', 'm2', -1),\n('m2', 'logits', 2),]",
    "JSON lines": (
        '["a1.h2", "a3.h5<q>", 0.5]\n{"src": "input", "dst": "m2", "score": -1}\n["m2", "logits", 2]'
    ),
    "objects on lines": (
        '{"source": "a1.h2", "target": "a3.h5<q>", "weight": 0.5}\n{"edge": "input->m2", "score": -1}\n'
        '{"sender": "m2", "receiver": "logits", "score": 2}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", LINES)
def test_text(read, form):
    assert read(LINES[form]) == EXPECTED


def test_text_without_scores(read):
    assert read("a1.h2->a3.h5<q>\ninput → m2\nm2,logits") == UNSCORED
    assert read("from,to\na1.h2,a3.h5<q>\ninput,m2\nm2,logits") == UNSCORED
    assert read("from,to,score\na1.h2,a3.h5<q>,\ninput,m2,\nm2,logits,") == UNSCORED


ACDC = [
    ["blocks.3.hook_q_input", [None, None, 5], "blocks.1.attn.hook_result", [None, None, 2]],
    ["blocks.2.hook_mlp_in", ["COL"], "hook_embed", [":"]],
    ["blocks.3.hook_resid_post", "[:]", "blocks.2.hook_mlp_out", "[COLON]"],
]
JSON = {
    "scores behind": [[*edge, score] for edge, score in zip(ACDC, EXPECTED.values(), strict=True)],
    "scores around": [[edge, score] for edge, score in zip(ACDC, EXPECTED.values(), strict=True)],
    "turned": [[*edge[2:], *edge[:2], score] for edge, score in zip(ACDC, EXPECTED.values(), strict=True)],
    "pairs": [["a1.h2", "a3.h5<q>", 0.5], ["input", "m2", -1], ["m2", "logits", 2]],
    "strings": ["a1.h2->a3.h5<q> 0.5", "input → m2, -1", "m2 -> logits\t2"],
    "circuit.json's": [
        {"src": edge.partition("->")[0], "dst": edge.partition("->")[2], "score": score}
        for edge, score in EXPECTED.items()
    ],
    "records": [
        {"Sender": "a1.h2", "Receiver": "a3.h5", "kind": "q", "weight": 0.5, "layer": 1},
        {"edge": "input->m2", "score": -1},
        {"edge": "m0->m1", "score": -1, "in_graph": False},
        {"edge": "m2->logits", "score": 2, "in_graph": True},
    ],
}


@pytest.mark.parametrize("form", JSON)
def test_json(read, form):
    assert read(JSON[form]) == EXPECTED
    assert read(json.dumps(JSON[form], indent=2)) == EXPECTED


def test_one_edge_by_itself(read):
    for content in (
        '["input", "m2", -1]',
        '["input", "m2"]',
        json.dumps(ACDC[1]),
        '{"src": "input", "dst": "m2"}',
    ):
        assert list(read(content)) == ["input->m2"]


def test_the_subgraph_of_acdc(tmp_path):
    """What `torch.save` keeps: every edge by a tuple, and whether it is present."""
    subgraph = OrderedDict(
        ((receiver, tuple(into), sender, tuple(out)), present)
        for receiver, into, sender, out, present in [
            ("blocks.3.hook_q_input", [None, None, 5], "blocks.1.attn.hook_result", [None, None, 2], True),
            ("blocks.2.hook_mlp_in", [None], "blocks.0.hook_resid_pre", [None], True),
            ("blocks.2.hook_mlp_in", [None], "blocks.1.hook_mlp_out", [None], False),
            ("blocks.2.hook_mlp_out", [None], "blocks.2.hook_mlp_in", [None], True),
            ("blocks.3.hook_resid_post", [None], "blocks.2.hook_mlp_out", [None], True),
        ]
    )
    torch.save(subgraph, tmp_path / "subgraph.pth")
    circuit = read_edge_list(tmp_path / "subgraph.pth", identity_for(FULL))
    assert edges_of(circuit) == UNSCORED
    assert circuit.settings == {"scored": False}


@pytest.mark.parametrize("graph", [FULL, GROUPED])
def test_this_project_s_own_tables_come_back(tmp_path, graph):
    circuit = circuit_of(
        graph, "input->a1.h1<k> 0.125", "a0.h3->a2.h3<v> -2", "a0.h3->m1 1e-9", "m1->logits 3"
    )
    write_csv(circuit, tmp_path / "circuit.csv")
    circuit_table(circuit).to_csv(tmp_path / "pandas.csv")  # with its index
    circuit_table(circuit).to_csv(tmp_path / "semicolons.csv", sep=";", index=False)
    circuit_table(circuit).to_json(tmp_path / "records.json", orient="records")
    circuit_table(circuit).to_json(tmp_path / "lines.json", orient="records", lines=True)
    for name in ("circuit.csv", "pandas.csv", "semicolons.csv", "records.json", "lines.json"):
        again = read_edge_list(tmp_path / name, circuit.model)
        if name.endswith("csv"):
            assert again.edges == circuit.edges
        else:  # pandas rounds to ten decimals
            assert edges_of(again) == pytest.approx(edges_of(circuit), abs=1e-9)
        assert again.settings["scored"] is True


def test_the_table_of_all_scores_comes_back(tmp_path):
    scores = scores_for(GROUPED, np.random.default_rng(0))
    scores.table().to_csv(tmp_path / "scores.csv", index=False)
    again = read_edge_list(tmp_path / "scores.csv", scores.model)
    assert again.edges == scores.edges(GROUPED.valid)


def test_a_table_from_elsewhere(tmp_path):
    """As pandas writes what somebody put together."""
    table = pd.DataFrame(
        {"source": ["A1.2", "Resid Start"], "target": ["A3.5.Q", "MLP 2"], "weight": [0.5, -1]}
    )
    table.to_csv(tmp_path / "t.csv")
    assert edges_of(read_edge_list(tmp_path / "t.csv", identity_for(FULL))) == {
        "a1.h2->a3.h5<q>": 0.5,
        "input->m2": -1.0,
    }


def test_keys_by_the_model_s_own_heads_or_by_query_heads(read, tmp_path):
    """Four keys for eight query heads: `a2.h3<k>` is the fourth, or that of the fourth query head."""
    low, high = (
        "m0->a2.h3<k> 1\nm0->a2.h2<k> 4\nm0->a2.h7<q> 2",
        "m0->a2.h3<k> 1\nm0->a2.h2<k> 4\nm0->a2.h7<v> 2",
    )
    shared = {"m0->a2.h3<k>": 1, "m0->a2.h2<k>": 4, "m0->a2.h7<q>": 2}
    assert read(low, GROUPED) == shared
    assert read(low, GROUPED, key_heads="shared") == shared
    assert read(low, GROUPED, key_heads="query") == {"m0->a2.h1<k>": 5, "m0->a2.h7<q>": 2}
    assert read(high, GROUPED) == {"m0->a2.h1<k>": 5, "m0->a2.h3<v>": 2}
    assert read(low.replace("<k>", ".k"), GROUPED) == shared
    assert read(low, FULL, key_heads="query") == read(low, FULL, key_heads="shared") == shared
    assert read_edge_list(tmp_path / "edges", identity_for(FULL)).settings == {"scored": True}
    (tmp_path / "edges").write_text(low)
    assert read_edge_list(tmp_path / "edges", identity_for(GROUPED)).settings["key_heads"] == "shared"
    with pytest.raises(
        KCircuitsError, match=r"line 3: no receiver 'a2\.h7<v>', because the model has 4 key/value heads"
    ):
        read(high, GROUPED, key_heads="shared")
    with pytest.raises(KCircuitsError, match="line 2 names keys and values by query head, but line 1"):
        read("m0->a2.h3<k> 1\nMLP 0->A2.7.K 1", GROUPED)
    assert read("m0->a2.h3<k> 1\nMLP 0->A2.7.K 2", GROUPED, key_heads="query") == {
        "m0->a2.h1<k>": 1,
        "m0->a2.h3<k>": 2,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("m0->m2 1\nm0->m2 1", "line 2 has the same edge as line 1"),
        ("m0->m2 1\nMLP 0->MLP 2 3", "line 2 has the same edge as line 1, MLP 0 -> MLP 2, with the score 3"),
        ("src,dst,score\nm0,m2,1\n\nm0,m2,2", "line 4 has the same edge as line 2, m0 -> m2, with the"),
        ("hook_embed->MLP 2 1\ninput->m2 1", "line 2 has the same edge as line 1"),
        ("hook_embed->MLP 2 1\ntok_embeds->m2 1", "line 2 has the same edge as line 1"),
        ("hook_embed->MLP 2 1\nhook_pos_embed->m2 1\nhook_embed->m2 1", "line 3 has the same edge as line 2"),
        ("a1.h2->a3.h5 1", "query, key or value is missing: write a3.h5<q>, a3.h5<k> or a3.h5<v>"),
        ("src,dst,score\nm0,m2", "line 2 has 2 cells, fewer than the header needs"),
        ("src,dst,score\nm0,m2,high", "line 2: the score must be a number, got 'high'"),
        ("src,dst,score\nm0,m2,\nm1,m2,1", "line 2 has no score, but others have"),
        ("src,dst,score,weight\nm0,m2,1,1", "the columns 'score' and 'weight' have the same meaning"),
        ("src,dst,in_graph\nm0,m2,perhaps", "line 2: whether it is in the graph must be true or false, got"),
        ("edge,score\nm0 m2,1", "line 2: an edge is 'sender -> receiver', got 'm0 m2'"),
        ("a,b,c\nm0,m2,1", "line 1: the score must be a number, got 'c'"),
        ("a,b\nm0,m2", "line 1: no sender is called 'a'"),
        ("m0,m2,1,7", "line 1 must be 'sender -> receiver'"),
        ("m0->m2,1,7", "line 1 must be 'sender -> receiver'"),
        ('[{"src": "m0", "dst": 3}]', "entry 0 must name its ends and have a number as score"),
        ('[{"src": "m0"}]', "entry 0: an edge needs keys such as src, dst and score"),
        ('[{"src": "m0", "src": "m1", "dst": "m2"}]', "the key 'src' occurs twice"),
        ("['m0->m2', m3]", "not JSON"),
        ("(m0, m2)", "not JSON"),
        ('["blocks.2.hook_mlp_in", [1.5], "hook_embed", [null]]', "entry 0 must be"),
        ("m0 -> m2 1e999", "line 1: the score must be finite, got 1e999"),
    ],
)  # fmt: skip
def test_what_is_refused(read, content, message):
    with pytest.raises(KCircuitsError) as error:
        read(content)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_large_a_file_is_not_read(tmp_path):
    with (tmp_path / "edges").open("wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(KCircuitsError, match=r"too large for a list of edges: 2,048 MiB, at most \d+ MiB"):
        read_edge_list(tmp_path / "edges", identity_for(FULL))
