"""What an edit changed inside the model: layers of both objects, nodes, heads and the circuit."""

from __future__ import annotations

from collections.abc import Sequence

from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.matrix import matrix
from kcircuits.display.node_map import node_map
from kcircuits.display.numbers import NOTHING, number, percent
from kcircuits.display.prompts import prompt_text
from kcircuits.editing.changes import CHANGES, WHEN, HeadChange, NamesChange
from kcircuits.editing.explanation import Explanation
from kcircuits.graph import Graph
from kcircuits.graph.identity import graph_of

LISTED_EDGES = 200


def edit_section(found: Explanation) -> Html:
    """The section about one edit. A script draws the curves."""
    prompt = found.prompt
    new, old = prompt.answer.strip(), (prompt.wrong or "").strip()
    text = (
        f"{prompt_text(prompt.tokens)} → {new}, not {old}. Logit lens of the first token of each object "
        "after each layer, at the subject's last token and at the last position. Vertical lines mark the "
        f"edited layers ({', '.join(found.edited_nodes)})."
    )
    return section(
        "edit",
        "What the edit changed",
        tag("p", text),
        table("Signature of the edit", ("quantity", "value"), _signature(found)),
        tag("div", id="edit-charts"),
        *_circuit(found),
        *_node_changes(found),
        *_heads(found.heads, prompt.tokens, new),
    )


def _heads(heads: Sequence[HeadChange], tokens: Sequence[str], new: str) -> list[Html]:
    """What the heads that change most write and attend to, before and after."""
    if not heads:
        return []
    text = (
        "The heads whose direct contribution changes most: what they add to the new object's logit at the "
        "last position, the object's rank in their output, the tokens that they promote most, and the tokens "
        "that they attend to."
    )
    readings = [(when, getattr(each, when)) for each in heads for when in WHEN]
    rows = [
        (
            reading.node,
            when,
            number(reading.logit, "+.3f"),
            number(reading.rank, ",.0f"),
            ", ".join(token.strip() or repr(token) for token, _ in reading.top),
        )
        for when, reading in readings
    ]
    attention = [(f"{reading.node}, {when}", reading.attention) for when, reading in readings]
    return [
        tag("h3", "Heads before and after"),
        tag("p", text),
        table("Outputs of the heads", ("head", "", f"to {new}", "rank", "tokens"), rows),
        matrix("Attention from the last position", tokens, attention),
    ]


def _signature(found: Explanation) -> list[tuple[str, str]]:
    before, after = found.logits
    lead = found.subject_lead
    return [
        ("rank falls below 10 at the subject", _layer_text(found.subject_rise)),
        ("rank falls below 10 at the last position", _layer_text(found.last_rise)),
        (
            "layers from subject to last position",
            NOTHING if lead is None else f"{lead} layer{'s' if abs(lead) != 1 else ''}",
        ),
        ("logit(new) − logit(old) before", number(before, "+.3f")),
        ("logit(new) − logit(old) after", number(after, "+.3f")),
    ]


def _layer_text(layer: int | None) -> str:
    return "never" if layer is None else f"after layer {layer}"


def _circuit(found: Explanation) -> list[Html]:
    """Node maps of both circuits side by side, and the names of added, lost and kept nodes and edges."""
    levels = {"nodes": found.nodes, "edges": found.edges}
    counts = [
        (change, *(f"{len(getattr(names, change)):,}" for names in levels.values())) for change in CHANGES
    ]
    note = (
        "The circuit of the old object in the original model, compared with the circuit of the new object in "
        "the edited model. Added means only in the second circuit, lost means only in the first."
    )
    parts = [
        tag("h3", "The circuit before and after"),
        tag("p", note),
        tag("div", *_maps(found.nodes, graph_of(found.model)), class_="node-maps"),
        _legend(),
        table("Nodes and edges of the circuit", ("", "nodes", "edges"), counts),
    ]
    for level, names in levels.items():
        for change in CHANGES:
            parts.append(_names(f"{level.capitalize()} {change}", getattr(names, change)))
    return parts


def _maps(nodes: NamesChange, graph: Graph) -> list[Html]:
    sides = {"Before: the old object": ("lost", "kept"), "After: the new object": ("added", "kept")}
    return [
        node_map(title, graph, [(name, change) for change in changes for name in getattr(nodes, change)])
        for title, changes in sides.items()
    ]


def _legend() -> Html:
    items = [
        tag("li", tag("span", "", class_=f"block {change}", aria_hidden="true"), change) for change in CHANGES
    ]
    return tag("ul", *items, class_="legend")


def _names(title: str, names: Sequence[str]) -> Html:
    shown = ", ".join(names[:LISTED_EDGES])
    more = len(names) - LISTED_EDGES
    text = f"{shown} and {more:,} more" if more > 0 else shown or "None"
    return tag("details", tag("summary", f"{title}: {len(names):,}"), _wrap_text(text))


def _wrap_text(text: str) -> Html:
    """Text in pieces of 50 words, because `tag` cuts long strings."""
    words = text.split(" ")
    return tag("p", *(" ".join(words[start : start + 50]) for start in range(0, len(words), 50)))


def _node_changes(found: Explanation) -> list[Html]:
    changes, shares, total = found.changes, found.shares, found.total
    parts = [tag("h3", "Which nodes changed")]
    if shares is None:
        return [*parts, tag("p", "logit(new) − logit(old) does not change.")]
    text = (
        "Direct contribution of each node to logit(new) − logit(old): how much the edit changes it, and its "
        "share of the total change. Lost without it: how much smaller the total change is when the node "
        "keeps its output of the original model. These flows overlap and do not add up."
    )
    kinds = [(kind, percent(share, "+.1f")) for kind, share in shares.items()]
    rows = [
        (
            each.node,
            each.kind,
            number(each.change, "+.3f"),
            percent(each.change / total, "+.1f"),
            number(each.flow, "+.3f"),
        )
        for each in sorted(changes, key=lambda each: -abs(each.change))
    ]
    return [
        *parts,
        tag("p", text),
        table("Shares of the change by kind of node", ("kind", "share"), kinds),
        table("Nodes", ("node", "kind", "change", "share", "lost without it"), rows, sortable=True),
    ]
