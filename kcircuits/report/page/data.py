"""The data of the page's scripts, as one block of JSON."""

from __future__ import annotations

import json
from typing import Any

from kcircuits.analysis.comparison.results import Comparison
from kcircuits.circuit import Circuit
from kcircuits.display.html import Html
from kcircuits.display.result import Result
from kcircuits.display.text import printable
from kcircuits.editing.explanation import Explanation
from kcircuits.graph import layer_of
from kcircuits.report.graph_data import graph_data
from kcircuits.report.results import Results
from kcircuits.sizes import SizeComparison

_LINE_ENDS = str.maketrans({"\n": "⏎", "\r": "⏎", "\t": "⇥"})


def data_block(results: Results, other: Circuit | None) -> Html:
    """The data as a script element that browsers do not run. No text in the data can close the element.

    It is ASCII, and "<", ">" and "&" are escaped.
    """
    text = json.dumps(_make_printable(_data(results, other)), separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Html(f'<script type="application/json" id="data">{text}</script>')


def _data(results: Results, other: Circuit | None) -> dict[str, Any]:
    roles = {} if results.roles is None else {head.node: head.role for head in results.roles.heads}
    circuit, sizes = results.circuit, results.sizes
    return {
        "circuit": None if circuit is None else graph_data(circuit, other, roles),
        "sizes": None if circuit is None or sizes is None else _sizes(sizes, circuit.method),
        "curves": _parts(results.curves, ("layers", "prompts", "summary")),
        "heads": _parts(results.heads, ("prompts",)),
        "hallucination": _parts(results.hallucination, ("layers", "prompts")),
        "frequency": None if results.comparison is None else _frequency(results.comparison),
        "edit": None if results.explain is None else _edit(results.explain),
    }


def _parts(reading: Result | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    if reading is None:
        return None
    document = reading.to_json()
    return {key: document[key] for key in keys}


def _sizes(comparison: SizeComparison, method: str) -> list[dict[str, Any]]:
    """Faithfulness of each method's circuits over their edges; `own` marks the method of this circuit."""
    return [
        {
            "name": curve.name,
            "own": curve.name == method,
            "points": sorted(
                [point.num_edges, point.faithfulness] for point in curve.points if point.num_edges
            ),
        }
        for curve in comparison.curves
    ]


def _frequency(comparison: Comparison) -> list[dict[str, Any]] | None:
    """The domains as a list, in their order, with one number per layer."""
    return [
        {"name": name, "heads": rows[:, 0].tolist(), "mlp": rows[:, 1].tolist()}
        for name, rows in comparison.frequency.items()
    ] or None


def _edit(found: Explanation) -> dict[str, Any]:
    layers = sorted({layer for node in found.edited_nodes if (layer := layer_of(node)) is not None})
    return {
        "layers": list(range(len(found.new.before.last.rank))),
        "edited_layers": layers,
        "curves": {"new": found.new.to_json(), "old": found.old.to_json()},
    }


def _make_printable(value: Any) -> Any:
    """JSON values for the page: printable text, and numbers of six digits."""
    if isinstance(value, dict):
        return {printable(key): _make_printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_make_printable(each) for each in value]
    if isinstance(value, str):
        return printable(value.translate(_LINE_ENDS))
    return float(f"{value:.6g}") if isinstance(value, float) else value
