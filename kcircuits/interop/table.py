"""Export a circuit as a table for pandas and spreadsheets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kcircuits.circuit import Circuit
from kcircuits.circuit.edge_table import edge_table
from kcircuits.files.writing import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame


def circuit_table(circuit: Circuit) -> DataFrame:
    """A data frame with a row per edge; columns as in `kcircuits.circuit.edge_table.edge_table`."""
    return edge_table(circuit.edges)


def write_csv(circuit: Circuit, path: str | Path) -> None:
    """Write `circuit_table` as CSV with a header, atomically; `input` and `logits` have empty layers.

    Raises KCircuitsError if the file cannot be written.
    """
    text: str = circuit_table(circuit).to_csv(index=False, lineterminator="\n")
    write_atomically(path, text)
