"""Changes from another circuit: edges and nodes that were added, lost and kept."""

from __future__ import annotations

from kcircuits.circuit import Circuit, Edge, edge_jaccard, node_jaccard
from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import number

LISTED = 50


def change_section(circuit: Circuit, other: Circuit, name: str) -> Html:
    """The section about the difference; `name` names the other circuit."""
    edges = {
        "added": circuit.difference(other).edges,
        "lost": other.difference(circuit).edges,
        "kept": circuit.intersection(other).edges,
    }
    ours, theirs = set(circuit.nodes), set(other.nodes)
    nodes = {"added": ours - theirs, "lost": theirs - ours, "kept": ours & theirs}
    counts = [(change, f"{len(edges[change]):,}", f"{len(nodes[change]):,}") for change in edges]
    text = (
        f"Compared with {name}, a circuit of {len(other.edges):,} edges in "
        f"{other.model.get('name', 'a model without a name')} found by {other.method}. Added means only in "
        "this circuit, lost means only in the other circuit. Overlap (Jaccard): "
        f"{edge_jaccard(circuit, other):.3f} of the edges, {node_jaccard(circuit, other):.3f} of the nodes."
    )
    order = [*circuit.graph.senders, "logits"]
    return section(
        "change",
        "Changes",
        tag("p", text),
        table("Edges and nodes", ("", "edges", "nodes"), counts),
        *(_nodes(change, [name for name in order if name in nodes[change]]) for change in ("added", "lost")),
        *(_edges(change, edges[change]) for change in edges),
    )


def _nodes(change: str, names: list[str]) -> Html:
    summary = tag("summary", f"Nodes {change}: {len(names):,}")
    return tag("details", summary, tag("p", ", ".join(names) or "None"))


def _edges(change: str, edges: tuple[Edge, ...]) -> Html:
    strongest = sorted(edges, key=lambda edge: -abs(edge.score))[:LISTED]
    rows = [(edge.sender, edge.receiver, number(edge.score, "+.4g")) for edge in strongest]
    title = f"Edges {change}: {len(edges):,}"
    caption = title if len(edges) <= LISTED else f"{title}; the {LISTED} strongest"
    listed = table(caption, ("from", "to", "score"), rows, sortable=True) if rows else tag("p", "None")
    return tag("details", tag("summary", title), listed)
