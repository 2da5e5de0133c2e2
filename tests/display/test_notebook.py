"""A notebook shows a circuit as SVG and a table as HTML."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from kcircuits.circuit.drawing import dot_available

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not dot_available(), reason="graphviz' program dot is not installed")
def test_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = (
        "from tests.display.examples import circuit, evaluation\ncircuit()",
        "evaluation().table()",
        "evaluation()",
        "ax = evaluation().plot()",
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    picture, table, shown, drawn = (
        {kind for output in cell.outputs for kind in output.get("data", {})} for cell in notebook.cells
    )
    assert "image/svg+xml" in picture
    assert "text/html" not in picture  # which would be shown instead
    assert "text/html" in table
    assert "text/html" in shown
    assert "image/png" in drawn
