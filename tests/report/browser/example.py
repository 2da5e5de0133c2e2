"""A circuit that is large enough for a slider, with readings, and another to compare it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.circuit.strongest import strongest_part
from kcircuits.graph import Graph
from kcircuits.report.page import write_report
from kcircuits.sizes import MethodCurve, Point, SizeComparison
from tests.circuits import circuit_of, circuit_of_mask
from tests.report.readings.documents import roles, write_readings

GRAPH = Graph(num_layers=10, num_heads=6, num_kv_heads=3)


def random_circuit(graph: Graph, num_edges: int, seed: int) -> Circuit:
    rng = np.random.default_rng(seed)
    return circuit_of_mask(graph, random_connected_mask(graph, num_edges, rng), rng)


CIRCUIT = random_circuit(GRAPH, 120, 0)
OTHER = random_circuit(GRAPH, 150, 1)
ROLES = {each["node"]: each["role"] for each in roles(CIRCUIT)["heads"]}


def strongest(num_edges: int) -> Circuit:
    """The strongest part of the circuit, as a circuit of its own."""
    return circuit_of(GRAPH, *strongest_part(CIRCUIT, num_edges))


def write_example(folder: Path, circuit: Circuit = CIRCUIT, text: str = " French") -> Path:
    """Write the circuit's results and readings, with any text in them, and the report about them."""
    circuit.save(folder / "circuit.json")
    write_readings(folder, circuit, text)
    curves = (
        MethodCurve("acdc", (Point(10, 0.25), Point(40, 0.75), Point(120, 1.0)), 1.0, None, None),
        MethodCurve(text, (Point(20, 0.0), Point(GRAPH.num_edges, 1.0)), 1.0, None, None),
    )
    SizeComparison(circuit.model, {}, 0.5, 9.0, curves).save(folder / "sizes.json")
    OTHER.save(folder / "other.json")
    return write_report(folder, title=text, compare=folder / "other.json")
