"""GraphML, for networkx, Gephi, Cytoscape and yEd."""

from __future__ import annotations

from pathlib import Path

from kcircuits.circuit import Circuit
from kcircuits.files.documents import dump_json
from kcircuits.files.writing import write_atomically
from kcircuits.runtime.optional import need


def write_graphml(circuit: Circuit, path: str | Path) -> None:
    """Write the graph of `Circuit.to_networkx`, atomically.

    Edges have the attributes `receiver`, `kind` and `score`. The graph has `method`, and `model` and
    `settings` as JSON. `networkx.read_graphml` reads it back.

    Raises KCircuitsError if the file cannot be written or the settings are not JSON values.
    """
    need("networkx", "GraphML files")
    from networkx import MultiDiGraph, generate_graphml

    source = circuit.to_networkx()
    graph = MultiDiGraph(
        method=_printable(circuit.method),
        model=dump_json(circuit.model, "model", "circuit"),
        settings=dump_json(circuit.settings, "settings", "circuit"),
    )
    graph.add_nodes_from(source.nodes)
    # Edge ids, which networkx takes from the keys, must be unique in a GraphML file; receivers are not.
    for index, (sender, node, attributes) in enumerate(source.edges(data=True)):
        graph.add_edge(sender, node, key=f"e{index}", **attributes)
    write_atomically(path, "\n".join(generate_graphml(graph)) + "\n")


def _printable(text: str) -> str:
    """Remove control characters, which XML does not allow."""
    return "".join(char if char.isprintable() else " " for char in text)
