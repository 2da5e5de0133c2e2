"""Layer curves: where in the model the answer appears. The charts are drawn by a script."""

from __future__ import annotations

from kcircuits.analysis.curves.results import Curves
from kcircuits.display.html import Html, section, tag


def curves_section(curves: Curves) -> Html:
    """The section about the answer behind every layer."""
    count = len(curves.prompts)
    text = (
        f"The final norm and the unembedding after every layer, on {count:,} "
        f"prompt{'s' if count != 1 else ''}: rank (1 is the most likely token) and probability of the answer "
        "at the last position"
    )
    text += ", in the full model and in the circuit alone." if "circuit" in curves.runs else "."
    if count > 1:
        text += " The means have bootstrap intervals as bands; that of ranks is geometric."
    return section("curves", "Where the answer appears", tag("p", text), tag("div", id="curves-charts"))
