"""Layer curves: the layers where the answer emerges. A script draws the charts."""

from __future__ import annotations

from kcircuits.analysis.curves.results import Curves
from kcircuits.display.html import Html, section, tag


def curves_section(curves: Curves) -> Html:
    """The section about the answer after each layer."""
    count = len(curves.prompts)
    text = (
        f"Logit lens (final norm and unembedding after each layer) on {count:,} "
        f"prompt{'s' if count != 1 else ''}: rank (1 is the most likely token) and probability of the answer "
        "at the last position"
    )
    text += ", in the full model and in the circuit." if "circuit" in curves.runs else "."
    if count > 1:
        text += " Lines are means (geometric means for ranks), bands are bootstrap intervals."
    return section("curves", "Layer curves", tag("p", text), tag("div", id="curves-charts"))
