"""Edge lists of ACDC on TransformerLens and of auto-circuit, in every form they are read in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.interop.edge_lists import read_edge_list
from tests.circuits import graphs, identity_for, masks

FULL, GROUPED = Graph(12, 8, 8), Graph(12, 8, 4)


@pytest.fixture
def read(tmp_path):
    def call(content: object, graph: Graph = FULL) -> Circuit:
        path = tmp_path / "edges"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_edge_list(path, identity_for(graph))

    return call


def edges_of(circuit: Circuit) -> dict[str, float]:
    return {f"{edge.sender}->{edge.receiver}": edge.score for edge in circuit.edges}


@pytest.mark.parametrize(
    ("sender", "receiver", "edge"),
    [
        ("blocks.1.attn.hook_result[:, :, 2]", "blocks.3.hook_q_input[:, :, 5]", "a1.h2->a3.h5<q>"),
        ("blocks.1.attn.hook_result[:, :, 2]", "blocks.3.hook_k_input[:, :, 5]", "a1.h2->a3.h5<k>"),
        ("blocks.2.hook_mlp_out[:]", "blocks.3.hook_v_input[:, :, 7]", "m2->a3.h7<v>"),
        ("blocks.2.hook_mlp_out", "blocks.10.hook_mlp_in", "m2->m10"),
        ("blocks.2.attn.hook_result[:, :, 0]", "blocks.2.hook_resid_mid[:]", "a2.h0->m2"),
        ("blocks.0.hook_resid_pre[:]", "blocks.2.hook_mlp_in[:]", "input->m2"),
        ("hook_embed[:]", "blocks.11.hook_resid_post[:]", "input->logits"),
        ("hook_embed", "blocks.11.hook_resid_post", "input->logits"),
        ("hook_pos_embed[:]", "blocks.0.hook_v_input[:,:,1]", "input->a0.h1<v>"),
        ("A1.2", "A3.5.Q", "a1.h2->a3.h5<q>"),
        ("MLP 2", "A3.5.K", "m2->a3.h5<k>"),
        ("MLP 2", "MLP 10", "m2->m10"),
        ("Resid Start", "A0.7.V", "input->a0.h7<v>"),
        ("Resid Start", "Resid End", "input->logits"),
        ("A3.5", "MLP 3", "a3.h5->m3"),
    ],
)
def test_names_in_every_form(read, sender, receiver, edge):
    unscored = [[[sender, receiver]], [f"{sender}->{receiver}"], f"{sender} -> {receiver}\n"]
    for content in unscored:
        circuit = read(content)
        assert edges_of(circuit) == {edge: 1.0}
        assert circuit.settings == {"scored": False}
    scored = [
        [[sender, receiver, -0.25]],
        [f"{sender}->{receiver} -0.25"],
        f"\n  {sender}->{receiver}\t-2.5e-1",
    ]
    for content in scored:
        circuit = read(content)
        assert edges_of(circuit) == {edge: -0.25}
        assert circuit.settings == {"scored": True}


def test_whole_numbers_behind_names_that_end_in_one(read):
    assert edges_of(read("MLP 0->MLP 2 3\nMLP 0->MLP 3 4")) == {"m0->m2": 3, "m0->m3": 4}


def test_edges_inside_a_node_carry_nothing(read):
    inside = [
        ["blocks.3.hook_q_input[:, :, 5]", "blocks.3.attn.hook_q[:, :, 5]"],
        ["blocks.3.attn.hook_q[:, :, 5]", "blocks.3.attn.hook_result[:, :, 5]"],
        ["blocks.3.attn.hook_v[:, :, 0]", "blocks.3.attn.hook_result[:, :, 0]"],
        ["blocks.2.hook_mlp_in[:]", "blocks.2.hook_mlp_out[:]", 0.5],
        ["blocks.1.hook_resid_mid[:]", "blocks.1.hook_mlp_out[:]"],
    ]
    circuit = read([*inside, ["blocks.3.attn.hook_result[:, :, 5]", "blocks.11.hook_resid_post[:]", 2]])
    assert edges_of(circuit) == {"a3.h5->logits": 2}
    for edge in (
        ["blocks.3.hook_q_input[:, :, 5]", "blocks.3.attn.hook_q[:, :, 4]"],
        ["blocks.3.hook_q_input[:, :, 5]", "blocks.3.attn.hook_k[:, :, 5]"],
        ["blocks.2.hook_mlp_in[:]", "blocks.3.hook_mlp_out[:]"],
    ):
        with pytest.raises(KCircuitsError, match="entry 0: no sender is called"):
            read([edge])


def test_groups_are_summed(read):
    content = ["MLP 0->A2.2.K 0.5", "MLP 0->A2.3.K 0.25", "MLP 0->A2.5.V -1", "MLP 0->A2.5.Q 2"]
    expected = {"m0->a2.h1<k>": 0.75, "m0->a2.h2<v>": -1, "m0->a2.h5<q>": 2}
    assert edges_of(read(content, GROUPED)) == expected
    unscored = [edge.rpartition(" ")[0] for edge in content]
    assert edges_of(read(unscored, GROUPED)) == dict.fromkeys(expected, 1.0)


def test_embeddings_are_one_sender(read):
    content = "hook_embed[:] -> blocks.2.hook_mlp_in[:] 0.5\nhook_pos_embed[:] -> blocks.2.hook_mlp_in[:] 1"
    assert edges_of(read(content)) == {"input->m2": 1.5}


def auto_circuit(name: str) -> str:
    """Our name of a node or of an ungrouped receiver in auto-circuit's naming."""
    if name in ("input", "logits"):
        return {"input": "Resid Start", "logits": "Resid End"}[name]
    if name.startswith("m"):
        return f"MLP {name[1:]}"
    node, _, kind = name.partition("<")
    return node.replace("a", "A").replace(".h", ".") + (f".{kind[0].upper()}" if kind else "")


def hook(name: str, graph: Graph, *, receives: bool) -> str:
    """The same in hook names."""
    if name == "input":
        return "blocks.0.hook_resid_pre[:]"
    if name == "logits":
        return f"blocks.{graph.num_layers - 1}.hook_resid_post[:]"
    layer, _, rest = name[1:].partition(".h")
    if name.startswith("m"):
        return f"blocks.{layer}.hook_mlp_{'in' if receives else 'out'}[:]"
    head, _, kind = rest.partition("<")
    place = f"hook_{kind[0]}_input" if receives else "attn.hook_result"
    return f"blocks.{layer}.{place}[:, :, {head}]"


@given(st.data())
def test_any_circuit_in_either_naming(tmp_path_factory, data):
    drawn = data.draw(graphs())
    graph = Graph(drawn.num_layers, drawn.num_heads, drawn.num_heads, drawn.parallel)
    mask = data.draw(masks(graph))
    edges = [(graph.senders[s], graph.receivers[r]) for s, r in np.argwhere(mask)]
    path = tmp_path_factory.mktemp("edges") / "edges"
    for lines in (
        [f"{auto_circuit(s)}->{auto_circuit(r)}" for s, r in edges],
        [f"{hook(s, graph, receives=False)} -> {hook(r, graph, receives=True)} 0.5" for s, r in edges],
    ):
        for text in ("\n".join(lines), json.dumps(lines)):
            path.write_text(text)
            assert (read_edge_list(path, identity_for(graph)).mask() == mask).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MLP 0->MLP 2\nMLP 0 MLP 3", "line 2 must be 'sender -> receiver', optionally followed by a score"),
        ("\n\nMLP 0->Resid", "line 3: no receiver is called 'Resid' (see docs/interop.md)"),
        ("layer 0->MLP 2", "line 1: no sender is called 'layer 0' (see docs/interop.md)"),
        ("MLP 0->MLP 2 high", "line 1: no receiver is called 'MLP 2 high'"),
        ("MLP 0->MLP 2 nan", "line 1: the score must be finite, got nan"),
        ("MLP 0->MLP 2 1\nMLP 0->MLP 3", "line 2 has no score, but others have"),
        ("MLP 0->MLP 2\n\nMLP 0 -> MLP 2", "line 3 has the same edge as line 1"),
        ("A3.5.Q->A1.2", "no sender is called 'A3.5.Q' (it is a receiver: the sender comes first)"),
        ("MLP 0->blocks.3.hook_mlp_out[:]", "(it is a sender: the receiver comes second)"),
        ("MLP 0->A3.5", "query, key or value is missing"),
        ("MLP 3->MLP 2", "line 1: no edge MLP 3 -> MLP 2: the sender is computed after it"),
        ("MLP 0->A1.8.Q", "line 1: no receiver 'a1.h8<q>' in Graph("),
        ("MLP 0->blocks.10.hook_resid_post[:]", "is not the final stream: the last layer is 11"),
        ('["MLP 0->MLP 2", 3]', "entry 1 must be [sender, receiver], [sender, receiver, score] or a string"),
        ('[["MLP 0", "MLP 2", true]]', "entry 0 must be"),
        ('[["MLP 0", "MLP 2", null]]', "entry 0 must be"),
        ('[["MLP 0", 2]]', "entry 0 must be"),
        ('["MLP 0->MLP 2"', "not JSON"),
        ('{"MLP 0->MLP 2": 1}', "expected a JSON list"),
        ("[NaN]", "every number must be finite"),
        ("A1.2->A" + "9" * 1000 + ".1.Q", "no receiver is called"),
    ],
)
def test_lists_that_are_not_understood(read, tmp_path, content, message):
    with pytest.raises(KCircuitsError) as error:
        read(content)
    assert str(error.value).startswith(f"{tmp_path / 'edges'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(tmp_path)) + 300


def test_pickles_are_not_read(tmp_path):
    (tmp_path / "edges.pkl").write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(KCircuitsError, match=r"edges\.pkl: not a list of edges: the file is a Python pickle"):
        read_edge_list(tmp_path / "edges.pkl", identity_for(FULL))
