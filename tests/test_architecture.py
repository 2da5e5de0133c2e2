"""Data flows one way: a room may import what stands before it in the list, and itself."""

from __future__ import annotations

from collections.abc import Iterator

import grimp
import pytest

from kcircuits.discover import METHODS

# From the ground up; modules of one line may import each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "_version", "_C", "callable_package", "file_kinds"),
    ("_native", "optional"),
    ("documents", "json_records", "files", "tensor_files", "graph", "memory", "metrics", "profile"),
    ("paths", "json_cursor"),
    ("identity", "random_circuits", "ops"),
    ("circuit", "circuit_json", "scores_file"),
    ("edge_table", "selection"),
    ("scores",),
    ("interop",),
    ("model",),
    ("data",),
    ("portions", "task"),
    ("layouts",),
    ("needs",),
    ("engine",),
    ("checking", "discover", "evaluate"),
    ("sizes", "planning", "analysis"),
    ("editing",),
    ("report", "sweep"),
    ("cli",),
    ("__main__",),
)
ROOT = "kcircuits"


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    # For types alone anything may be imported: the names of `kcircuits` itself are such, and lazy.
    return grimp.build_graph(ROOT, exclude_type_checking_imports=True)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def floor(name: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if name in rooms)


def crossings(imports: grimp.ImportGraph) -> Iterator[tuple[str, str]]:
    for importer in sorted(imports.modules):
        for imported in sorted(imports.find_modules_directly_imported_by(importer)):
            if room(importer) != room(imported) and room(importer) is not None:
                yield importer, imported


def test_every_room_has_a_floor(imports):
    listed = {name for rooms in FLOORS for name in rooms}
    assert {room(module) for module in imports.modules} - {None} <= listed


def test_no_room_imports_an_upper_one(imports):
    upward = [
        f"{importer} imports {imported}"
        for importer, imported in crossings(imports)
        if room(imported) is None or floor(room(imported)) > floor(room(importer))
    ]
    assert not upward


def test_the_rule_sees_real_imports(imports):
    assert ("kcircuits.cli.setup", "kcircuits.model.loading") in set(crossings(imports))
    assert ("kcircuits.engine", "kcircuits._native") in set(crossings(imports))


def test_no_cycles_between_methods(imports):
    """Methods of discovery know nothing of each other, and what is common knows no method."""
    methods = {method.__module__ for method in METHODS.values()}
    common = {f"kcircuits.discover.{name}" for name in ("method", "progress", "by_scores", "gates")}
    for module in methods | common:
        imported = imports.find_modules_directly_imported_by(module)
        assert not imported & (methods - {module})
        assert not imported & {"kcircuits.discover.run", "kcircuits.discover.methods"}


def test_the_package_itself_imports_nothing(imports):
    assert not imports.find_modules_directly_imported_by(ROOT)
