"""What heads and MLPs write, at the prompt and position that a reader chooses. A script fills the table."""

from __future__ import annotations

from kcircuits.display.html import Html, section, tag


def heads_section(in_picture: bool) -> Html:
    """The section about what nodes write and attend to; `in_picture`: the page has a picture of them."""
    text = (
        "What the output of each node at one position adds to the answer's logit (through the final norm of "
        "the full run, above the mean over the vocabulary), its share of that logit, the answer's rank "
        "in what the node writes, and the tokens that it writes most. Press a title to sort the table"
    )
    text += ", and a node to see it in the picture." if in_picture else "."
    return section("heads", "What the nodes write", tag("p", text), tag("div", id="heads-table"))
