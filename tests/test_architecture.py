"""Data flows one way: a package imports only from packages at its own level or below."""

from __future__ import annotations

from collections.abc import Iterator

import grimp
import pytest

from kcircuits.discovery import METHODS

# From the lowest level up. Packages of one level may import each other.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "_version", "_C"),
    ("_native",),
    ("runtime",),
    ("files",),
    ("graph",),
    ("display", "ops"),
    ("circuit",),
    ("scores",),
    ("interop",),
    ("data",),
    ("model",),
    ("task",),
    ("engine",),
    ("checking", "discovery", "evaluation"),
    ("sizes", "planning", "analysis"),
    ("editing",),
    ("report", "sweeps"),
    ("cli",),
    ("__main__",),
)
ROOT = "kcircuits"


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    # Imports for types alone are allowed everywhere: `kcircuits` itself imports its names lazily.
    return grimp.build_graph(ROOT, exclude_type_checking_imports=True)


def package(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def level(name: str) -> int:
    return next(index for index, packages in enumerate(LEVELS) if name in packages)


def crossings(imports: grimp.ImportGraph) -> Iterator[tuple[str, str]]:
    for importer in sorted(imports.modules):
        for imported in sorted(imports.find_modules_directly_imported_by(importer)):
            if package(importer) != package(imported) and package(importer) is not None:
                yield importer, imported


def test_every_package_has_a_level(imports):
    listed = {name for packages in LEVELS for name in packages}
    assert {package(module) for module in imports.modules} - {None} <= listed


def test_no_package_imports_from_a_higher_level(imports):
    upward = [
        f"{importer} imports {imported}"
        for importer, imported in crossings(imports)
        if package(imported) is None or level(package(imported)) > level(package(importer))
    ]
    assert not upward


def test_the_rule_sees_real_imports(imports):
    assert ("kcircuits.cli.setup", "kcircuits.model.loading") in set(crossings(imports))
    assert ("kcircuits.engine.engine", "kcircuits._native") in set(crossings(imports))


def test_no_cycles_between_methods(imports):
    """Discovery methods do not import each other, and shared modules import no method."""
    methods = {method.__module__ for method in METHODS.values()}
    common = {f"kcircuits.discovery.{name}" for name in ("method", "progress", "by_scores", "gates")}
    for module in methods | common:
        imported = imports.find_modules_directly_imported_by(module)
        assert not imported & (methods - {module})
        assert not imported & {"kcircuits.discovery.run", "kcircuits.discovery.methods"}


def test_the_package_itself_imports_nothing(imports):
    assert not imports.find_modules_directly_imported_by(ROOT)
