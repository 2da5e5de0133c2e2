"""docs/interop.md: its commands and its snippets run, from top to bottom, each by itself."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kcircuits.cli import run
from kcircuits.graph.identity import graph_of
from kcircuits.interop.edge_lists import read_edge_list
from kcircuits.model.loading import load_model
from tests.circuits import circuit_of, scores_for
from tests.golden import GOLDEN
from tests.interop.test_eap_ig_pt import pt_of

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    (kcircuits .*)$", TEXT, re.MULTILINE)
MODEL = GOLDEN / "llama_gqa"


class Index:
    """As ACDC's TorchIndex prints itself."""

    def __init__(self, *parts: int | None) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return f"[{', '.join(':' if part is None else str(part) for part in self.parts)}]"


KEY, END = "blocks.1.hook_k_input", "blocks.2.hook_resid_post"
HEADS = "blocks.0.attn.hook_result", "blocks.1.attn.hook_result"
EDGES = [
    ((KEY, Index(None, None, 3), HEADS[0], Index(None, None, 2)), 0.25),
    ((END, Index(None), HEADS[1], Index(None, None, 3)), torch.tensor(-1.0)),
]


@pytest.fixture(scope="module")
def identity():
    return load_model(MODEL).identity


@pytest.fixture
def files(tmp_path, monkeypatch, identity):
    """Every file that the page names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR").symlink_to(MODEL)
    shutil.copy(MODEL / "eap_top150_graph.json", "graph.json")
    torch.save(pt_of("llama_gqa"), "graph.pt")
    Path("edges.txt").write_text("a0.h2 -> a1.h1<k> 0.5\n")
    Path("circuit.csv").write_text("src,dst,score\na0.h2,m1,0.5\n")
    Path("edges.pkl").write_bytes(pickle.dumps(EDGES))
    circuit = circuit_of(graph_of(identity), "input->a0.h1<k> 0.5", "a0.h3->logits -2", model=identity)
    circuit.save("circuit.json")
    scores_for(circuit.graph, np.random.default_rng(0), model=identity).save("scores.safetensors")
    return tmp_path


def test_there_are_some():
    assert len(SNIPPETS) >= 5
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split("\n")[2][:40])
def test_snippets(files, snippet):
    exec(compile(snippet, "docs/interop.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(files, command):
    words = shlex.split(command.replace("INPUT OUTPUT", "circuit.json other.csv"))
    if words[3].endswith(".svg") and shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")
    assert run(words[1:]) == 0
    assert Path(words[3]).stat().st_size


def test_what_the_pickle_s_snippet_prints_is_read(files, capsys, identity):
    (snippet,) = (snippet for snippet in SNIPPETS if "pickle" in snippet)
    exec(compile(snippet, "docs/interop.md", "exec"), {})
    Path("lines.txt").write_text(capsys.readouterr().out)
    circuit = read_edge_list("lines.txt", identity)
    assert [(edge.sender, edge.receiver, edge.score) for edge in circuit.edges] == [
        ("a0.h2", "a1.h1<k>", 0.25),
        ("a1.h3", "logits", -1.0),
    ]


def test_every_format_of_the_command_line_is_in_the_table():
    from kcircuits.cli import convert

    table = TEXT.partition("| format |")[2].partition("\n\n")[0]
    for suffix in convert._BY_SUFFIX:
        assert f"`{suffix}`" in table
    for name in ("eap-ig", "edge-list"):
        assert f"`--from {name}`" in table
