"""What an edit changed inside: where its objects come up, whose writing changed, and its circuit."""

from __future__ import annotations

from math import fsum
from typing import Any

from kcircuits.graph import Graph
from kcircuits.identity import graph_of
from kcircuits.report.html import Html, section, table, tag
from kcircuits.report.readings.explain_json import CHANGES, WHEN
from kcircuits.report.sections.matrix import matrix
from kcircuits.report.sections.node_map import node_map
from kcircuits.report.sections.numbers import NOTHING, number, percent
from kcircuits.report.sections.prompts import prompt_text

LISTED_EDGES = 200


def edit_section(found: dict[str, Any]) -> Html:
    """The section about one edit; a script draws the curves."""
    prompt = found["prompt"]
    new, old = prompt["answer"].strip(), prompt["wrong"].strip()
    text = (
        f"{prompt_text(prompt['tokens'])} → {new}, not {old}. The first token of each object, read behind "
        "every layer at the subject's last token and at the last position; the upright lines mark the edited "
        f"layers ({', '.join(found['edited_nodes'])})."
    )
    return section(
        "edit",
        "What the edit changed",
        tag("p", text),
        table("The signature of the edit", ("what", "value"), _signature(found)),
        tag("div", id="edit-charts"),
        *_circuit(found["circuit"], graph_of(found["model"])),
        *_writing(found),
        *_heads(found["heads"], prompt["tokens"], new),
    )


def _heads(heads: list[dict[str, Any]], tokens: list[str], new: str) -> list[Html]:
    """What the heads that change most write and attend to, before and after."""
    if not heads:
        return []
    text = (
        "The heads whose direct writing changes most: what they add to the new object's logit at the last "
        "position, the object's rank in what they write, the tokens that they write most, and where they "
        "attend from there."
    )
    rows = [
        (
            each[when]["node"],
            when,
            number(each[when]["logit"], "+.3f"),
            number(each[when]["rank"], ",.0f"),
            ", ".join(token.strip() or repr(token) for token, _ in each[when]["top"]),
        )
        for each in heads
        for when in WHEN
    ]
    attention = [
        (f"{each[when]['node']}, {when}", each[when]["attention"]) for each in heads for when in WHEN
    ]
    return [
        tag("h3", "Heads before and after"),
        tag("p", text),
        table("What they write", ("head", "", f"to {new}", "rank", "tokens"), rows),
        matrix("Where they attend from the last position", tokens, attention),
    ]


def _signature(found: dict[str, Any]) -> list[tuple[str, str]]:
    before, after = found["logits"]
    lead = found["subject_lead"]
    return [
        ("rank below 10 at the subject, and not before", _behind(found["subject_rise"])),
        ("rank below 10 at the last position, and not before", _behind(found["last_rise"])),
        ("the subject leads by", NOTHING if lead is None else f"{lead} layer{'s' if abs(lead) != 1 else ''}"),
        ("logit(new) − logit(old) before", number(before, "+.3f")),
        ("logit(new) − logit(old) after", number(after, "+.3f")),
    ]


def _behind(layer: int | None) -> str:
    return "nowhere" if layer is None else f"behind layer {layer}"


def _circuit(circuit: dict[str, Any], graph: Graph) -> list[Html]:
    """The nodes of both side by side, and names by what has become of them."""
    counts = [
        (change, *(f"{len(circuit[level][change]):,}" for level in ("nodes", "edges"))) for change in CHANGES
    ]
    note = (
        "The circuit of the old object in the original model beside that of the new object in the edited "
        "one. Added is what only the second has, lost what only the first has."
    )
    parts = [
        tag("h3", "The circuit before and after"),
        tag("p", note),
        tag("div", *_maps(circuit["nodes"], graph), class_="node-maps"),
        _legend(),
        table("Nodes and edges of the circuit", ("", "nodes", "edges"), counts),
    ]
    for level in ("nodes", "edges"):
        for change in CHANGES:
            parts.append(_names(f"{level.capitalize()} {change}", circuit[level][change]))
    return parts


def _maps(nodes: dict[str, list[str]], graph: Graph) -> list[Html]:
    sides = {"Before: the old object": ("lost", "kept"), "After: the new object": ("added", "kept")}
    return [
        node_map(title, graph, [(name, change) for change in changes for name in nodes[change]])
        for title, changes in sides.items()
    ]


def _legend() -> Html:
    items = [
        tag("li", tag("span", "", class_=f"block {change}", aria_hidden="true"), change) for change in CHANGES
    ]
    return tag("ul", *items, class_="legend")


def _names(title: str, names: list[str]) -> Html:
    shown = ", ".join(names[:LISTED_EDGES])
    more = len(names) - LISTED_EDGES
    text = f"{shown} and {more:,} more" if more > 0 else shown or "None"
    return tag("details", tag("summary", f"{title}: {len(names):,}"), _listed(text))


def _listed(text: str) -> Html:
    """Text in pieces, as one string is cut where a page would not hold it."""
    words = text.split(" ")
    return tag("p", *(" ".join(words[start : start + 50]) for start in range(0, len(words), 50)))


def _writing(found: dict[str, Any]) -> list[Html]:
    changes, shares = found["changes"], found["shares"]
    total = fsum(each["change"] for each in changes)
    parts = [tag("h3", "Whose writing changed")]
    if shares is None or not total:
        return [*parts, tag("p", "logit(new) − logit(old) does not change.")]
    text = (
        "What each node writes directly to logit(new) − logit(old): by how much the edit changes it, and its "
        "share of the whole change. Lost without it: by how much less the difference changes where the node "
        "writes what it writes in the original model; such flows overlap and do not add up."
    )
    kinds = [(kind, percent(share, "+.1f")) for kind, share in shares.items()]
    rows = [
        (
            each["node"],
            each["kind"],
            number(each["change"], "+.3f"),
            percent(each["change"] / total, "+.1f"),
            number(each["flow"], "+.3f"),
        )
        for each in sorted(changes, key=lambda each: -abs(each["change"]))
    ]
    return [
        *parts,
        tag("p", text),
        table("Shares of the change by kind of node", ("kind", "share"), kinds),
        table("Nodes", ("node", "kind", "change", "share", "lost without it"), rows, sortable=True),
    ]
