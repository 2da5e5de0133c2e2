"""Tables between markers are what benchmarks/tables.py makes of the results."""

from __future__ import annotations

import importlib

import pytest

from tests.docs.pages import ROOT, Page


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("tables")


def test_tables_are_those_of_the_results(tables):
    old = []
    for path, makers in tables.TABLES.items():
        for name, make in makers.items():
            begin = f"<!-- table: {name}, written by benchmarks/tables.py -->\n"
            written = Page(path).text.partition(begin)[2].partition(f"\n{tables.END}")[0]
            old += [f"{path}: {name}"] if written != make() else []
    assert not old, f"run python benchmarks/tables.py: {', '.join(old)}"


def test_the_readme_has_one_small_table(tables):
    rows = [line for line in Page("README.md").text.splitlines() if line.startswith("|")]
    assert len(rows) <= 8
    assert max(map(len, rows)) <= 100
