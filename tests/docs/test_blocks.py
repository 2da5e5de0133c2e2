"""Documentation runs as printed: Python is executed, and commands are parsed by the command line itself.

The Python blocks of a page are one session, in a folder of its own (`folders.py`). A block under a comment
`<!-- not run: reason -->` is compiled, and the names and arguments in it must exist.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from kcircuits.circuit.drawing import dot_available
from tests.docs.command_line import command_of, options_of, parse
from tests.docs.folders import FOLDERS
from tests.docs.pages import LANGUAGES, PAGES, ROOT, Block, Page, commands_in
from tests.docs.static import problems

COMMANDS = [
    pytest.param(words[1:], id=f"{block}: {' '.join(words[1:3])}")
    for page in PAGES
    for block in page.of("sh")
    for words in commands_in(block.code)
    if words[0] == "kcircuits"
]


def with_python(page: Page) -> bool:
    return bool(page.of("python"))


@pytest.mark.parametrize("page", filter(with_python, PAGES), ids=str)
def test_python(page, tmp_path, monkeypatch):
    if any("kc.draw(" in block.code for block in page.of("python")) and not dot_available():
        pytest.skip("graphviz' program dot is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    FOLDERS.get(page.path, lambda folder: None)(tmp_path)
    session: dict[str, Any] = {"__name__": page.path}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for block in page.of("python"):
            if block.reason is None:
                exec(compile(block.padded, page.path, "exec", dont_inherit=True), session)
            else:
                check(block, session)
    finally:
        torch.set_num_threads(threads)


def check(block: Block, session: dict[str, Any]) -> None:
    compile(block.padded, block.page, "exec", dont_inherit=True)
    wrong = problems(block.padded, session)
    assert not wrong, f"{block} names what does not exist:\n" + "\n".join(wrong)


@pytest.mark.parametrize("words", COMMANDS)
def test_commands(words):
    parse(words)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_options_in_prose(page):
    """`evaluate --halves`, and `--halves` after the name of its command, are options of that command."""
    wrong = []
    for code in page.inline_code:
        command, words = command_of([word for word in code.split() if word != "kcircuits"])
        if command is None or not code.split()[0].isalpha():
            continue
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        wrong += [f"`{code}`: no option {flag}" for flag in sorted(flags - options_of(command))]
    assert not wrong, f"{page}: " + "; ".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_says_its_language(page):
    """A block of an unknown language would not be tested."""
    assert page.text.count("\n```") % 2 == 0
    assert [block for block in page.blocks if block.language not in LANGUAGES] == []
    assert len(re.findall(r"^```\w+$", page.text, re.MULTILINE)) == len(page.blocks)
    assert not re.findall(r"^    kcircuits ", page.text, re.MULTILINE), "write commands in a ```sh block"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links(page):
    """Links to files of the repository, and to headings in them."""
    wrong = []
    for target in re.findall(r"\]\(([^()\s]+)\)", page.prose):
        path, _, heading = target.partition("#")
        file = ((ROOT / page.path).parent / path).resolve() if path else ROOT / page.path
        if "://" in target:
            continue
        if not file.exists() or (heading and heading not in anchors(file.read_text(encoding="utf-8"))):
            wrong.append(target)
    assert not wrong, f"{page} links to {', '.join(wrong)}"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        words[1]
        for page in PAGES
        for words in [
            *(words for block in page.of("sh") for words in commands_in(block.code)),
            *(code.split() for code in page.inline_code),
        ]
        if words[0] == "make" and len(words) > 1 and words[1].islower()
    }
    assert "demo" in named
    assert named <= targets
