"""Lists in the documentation are complete."""

from __future__ import annotations

import pytest

from kcircuits.data.pairs_csv import ID_COLUMNS, TEXT_COLUMNS
from kcircuits.data.records import ID_KEYS, TEXT_KEYS
from kcircuits.data.relations import bundled_relations
from kcircuits.discovery.methods import METHODS
from kcircuits.sweeps.yaml_file import read_yaml
from tests.docs.command_line import ROOT as COMMAND
from tests.docs.pages import PAGES, Page

START, PROMPTS, METHODS_PAGE = Page("docs/README.md"), Page("docs/prompts.md"), Page("docs/methods.md")


def test_the_start_page_links_to_every_page():
    pages = {page.path.removeprefix("docs/") for page in PAGES if page.path.startswith("docs/")}
    assert [name for name in sorted(pages - {"README.md"}) if f"]({name})" not in START.text] == []
    assert "](docs/README.md)" in Page("README.md").text


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_defined(name):
    assert f"\n| `{name}`" in METHODS_PAGE.text.partition("## Definitions")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", COMMAND.commands)
def test_every_command_is_in_the_readme(name):
    text = Page("README.md").text
    assert f"`{name}`" in text or f"kcircuits {name} " in text


@pytest.mark.parametrize("name", [*TEXT_KEYS, *ID_KEYS, *sum(ID_COLUMNS, ()), *TEXT_COLUMNS])
def test_every_key_of_a_prompt_is_explained(name):
    assert f"`{name}`" in PROMPTS.text


@pytest.mark.parametrize("name", bundled_relations())
def test_every_relation_is_named(name):
    assert f"`{name}`" in PROMPTS.text


@pytest.mark.parametrize("block", Page("docs/sweeps.md").of("yaml"), ids=str)
def test_yaml_is_read(tmp_path, block):
    path = tmp_path / "sweep.yaml"
    path.write_text(block.code)
    assert "models" in read_yaml(path).value
