"""docs/interop.md: its commands run, and what it says about formats is true. tests/docs runs its Python."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kcircuits.cli import run
from kcircuits.interop.edge_lists import read_edge_list
from kcircuits.model.loading import load_model
from tests.docs.folders import MODEL, interop
from tests.docs.pages import Page, commands_in

PAGE = Page("docs/interop.md")
COMMANDS = [words for block in PAGE.of("sh") for words in commands_in(block.code)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Every file that the page names."""
    monkeypatch.chdir(tmp_path)
    interop(tmp_path)
    return tmp_path


def test_there_are_some():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands(files, words):
    if words[3].endswith(".svg") and shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")
    assert run(words[1:]) == 0
    assert Path(words[3]).stat().st_size


def test_what_the_pickle_s_snippet_prints_is_read(files, capsys):
    (snippet,) = (block.code for block in PAGE.of("python") if "pickle" in block.code)
    exec(compile(snippet, PAGE.path, "exec"), {})
    Path("lines.txt").write_text(capsys.readouterr().out)
    circuit = read_edge_list("lines.txt", load_model(MODEL).identity)
    assert [(edge.sender, edge.receiver, edge.score) for edge in circuit.edges] == [
        ("a0.h2", "a1.h1<k>", 0.25),
        ("a1.h3", "logits", -1.0),
    ]


def test_every_format_of_the_command_line_is_in_the_table(capsys):
    table = PAGE.text.partition("| format |")[2].partition("\n\n")[0]
    assert run(["convert", "any.json", "out.unknown"]) == 2
    suffixes = re.findall(r"\.[a-z]+(?=,)", capsys.readouterr().err.partition("end it in")[2])
    assert {".json", ".csv"} <= set(suffixes)
    for suffix in suffixes:
        assert f"`{suffix}`" in table
    for name in ("eap-ig", "edge-list"):
        assert f"`--from {name}`" in table
