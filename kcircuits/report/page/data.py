"""Everything that the page's scripts work with, as one block of JSON."""

from __future__ import annotations

import json
from typing import Any

from kcircuits.circuit import Circuit
from kcircuits.graph import layer_of
from kcircuits.report.graph_data import graph_data
from kcircuits.report.html import Html
from kcircuits.report.results import Results
from kcircuits.report.text import printable
from kcircuits.sizes import SizeComparison

_LINE_ENDS = str.maketrans({"\n": "⏎", "\r": "⏎", "\t": "⇥"})


def data_block(results: Results, other: Circuit | None) -> Html:
    """The data as an element that no browser runs and that no text in it can end.

    Of "<", ">" and "&" only their escapes are in it, and nothing beyond ASCII.
    """
    text = json.dumps(_shown(_data(results, other)), separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Html(f'<script type="application/json" id="data">{text}</script>')


def _data(results: Results, other: Circuit | None) -> dict[str, Any]:
    roles = {} if results.roles is None else {each["node"]: each["role"] for each in results.roles["heads"]}
    circuit, sizes = results.circuit, results.sizes
    return {
        "circuit": None if circuit is None else graph_data(circuit, other, roles),
        "sizes": None if circuit is None or sizes is None else _sizes(sizes, circuit.method),
        "curves": _parts(results.curves, ("layers", "prompts", "summary")),
        "heads": _parts(results.heads, ("prompts",)),
        "hallucination": _parts(results.hallucination, ("layers", "prompts")),
        "frequency": None if results.comparison is None else _frequency(results.comparison["frequency"]),
        "edit": None if results.explain is None else _edit(results.explain),
    }


def _parts(document: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    return None if document is None else {key: document[key] for key in keys}


def _sizes(comparison: SizeComparison, method: str) -> list[dict[str, Any]]:
    """The faithfulness of each method's circuits over their edges; `own` marks the method of this one."""
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


def _frequency(domains: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]] | None:
    """The domains as a list, whose order is theirs, with a number per layer."""
    return [
        {"name": name, **{kind: [row[kind] for row in rows] for kind in ("heads", "mlp")}}
        for name, rows in domains.items()
    ] or None


def _edit(found: dict[str, Any]) -> dict[str, Any]:
    layers = sorted({layer for node in found["edited_nodes"] if (layer := layer_of(node)) is not None})
    behind = len(found["curves"]["new"]["before"]["last"]["rank"])
    return {"layers": list(range(behind)), "edited_layers": layers, "curves": found["curves"]}


def _shown(value: Any) -> Any:
    """JSON values as a page shows them: text without what cannot be seen, numbers of six digits."""
    if isinstance(value, dict):
        return {printable(key): _shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, str):
        return printable(value.translate(_LINE_ENDS))
    return float(f"{value:.6g}") if isinstance(value, float) else value
