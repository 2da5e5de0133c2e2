"""Every name of this package that documentation, docstrings and comments mention exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

from tests.docs import pages as docs
from tests.docs.pages import ROOT

PAGES = [ROOT / page.path for page in docs.PAGES]
SOURCES = sorted((ROOT / "kcircuits").rglob("*.py"))
NAME = re.compile(r"(?<!ops\.)\bkcircuits((?:\.[A-Za-z_]\w*)+)")
PATH = re.compile(
    r"`((?:kcircuits|csrc|tests|benchmarks|docs|tools)/[\w./-]+\.(?:py|cpp|h|cu|cuh|md|sh|json|js))`"
)
# What the reader of a page is told to write.
EXAMPLES = {"kcircuits/model/families/starcoder2.py"}
# Endings of files and of formats, which look like names.
NOT_NAMES = re.compile(r"^\.(tmp|json|so)$")


def names_in(file: Path) -> set[str]:
    """Dotted names; in Python only those in text, since the others are imported anyway."""
    found = {match[1] for match in NAME.finditer(file.read_text(encoding="utf-8"))}
    return {name for name in found if not NOT_NAMES.match(name)}


def exists(dotted: str) -> bool:
    """Whether `.a.b.c` is a module of the package, or what is found in one."""
    thing = importlib.import_module("kcircuits")
    for part in dotted[1:].split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            try:
                thing = importlib.import_module(f"{thing.__name__}.{part}")
            except (ImportError, AttributeError):
                return part in getattr(thing, "__annotations__", {})
    return True


def is_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def listed(names: Iterable[str]) -> str:
    return "\n".join(sorted(names))


def test_every_name_exists():
    missing = {
        f"{file.relative_to(ROOT)}: kcircuits{name}"
        for file in (*PAGES, *SOURCES)
        for name in names_in(file)
        if not exists(name)
    }
    assert not missing, listed(missing)


def test_every_file_exists():
    missing = {
        f"{file.name}: {path}"
        for file in PAGES
        for path in PATH.findall(file.read_text(encoding="utf-8"))
        if path not in EXAMPLES and not (ROOT / path).exists()
    }
    assert not missing, listed(missing)


def test_every_import_inside_functions_resolves():
    """Type checks ignore what is missing, so an import of a name that moved shows only when it runs."""
    missing = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kcircuits."):
                module = importlib.import_module(node.module or "")
                missing |= {
                    f"{file.relative_to(ROOT)}: {node.module}.{alias.name}"
                    for alias in node.names
                    if not hasattr(module, alias.name) and not is_module(f"{node.module}.{alias.name}")
                }
    assert not missing, listed(missing)


def test_nothing_refers_to_documents_outside_the_repository():
    files = [*SOURCES, *(ROOT / "csrc").rglob("*.*"), *PAGES]
    referring = [
        str(file.relative_to(ROOT))
        for file in files
        if re.search(r"\bDESIGN\b", file.read_text(encoding="utf-8"))
    ]
    assert not referring
