"""Everything that the page's scripts work with, as one block of JSON."""

from __future__ import annotations

import json
from typing import Any

from kcircuits.circuit import Circuit
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
    return {
        "circuit": graph_data(results.circuit, other, roles),
        "sizes": None if results.sizes is None else _sizes(results.sizes, results.circuit.method),
        "curves": _parts(results.curves, ("layers", "prompts", "summary")),
        "heads": _parts(results.heads, ("prompts",)),
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


def _shown(value: Any) -> Any:
    """JSON values as a page shows them: text without what cannot be seen, numbers of six digits."""
    if isinstance(value, dict):
        return {printable(key): _shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, str):
        return printable(value.translate(_LINE_ENDS))
    return float(f"{value:.6g}") if isinstance(value, float) else value
