"""Contributions of heads and MLPs at the chosen prompt and position. A script fills the table."""

from __future__ import annotations

from kcircuits.display.html import Html, section, tag


def heads_section(in_picture: bool) -> Html:
    """The section about contributions and attention; `in_picture`: the page has a picture of the nodes."""
    text = (
        "Direct logit attribution: what each node's output at one position adds to the answer's logit "
        "(through the final norm of the full run, relative to the mean over the vocabulary), its share of "
        "that logit, the answer's rank in the node's output, and the tokens that the node promotes most. "
        "Click a column title to sort the table"
    )
    text += ", or a node to show it in the picture." if in_picture else "."
    return section("heads", "What the nodes write", tag("p", text), tag("div", id="heads-table"))
