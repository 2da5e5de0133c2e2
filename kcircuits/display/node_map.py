"""Map of nodes: a row per layer from the bottom up, a column per head, and a column for the MLPs."""

from __future__ import annotations

from collections.abc import Iterable

from kcircuits.display.html import Html, tag
from kcircuits.graph import Graph, head_of, layer_of

_STEP = 14
_LEFT = 30  # room for the layers' numbers
_MOST_NUMBERS = 12


def node_map(title: str, graph: Graph, nodes: Iterable[tuple[str, str]]) -> Html:
    """A figure with a mark for each of some nodes, and faint marks for the model's other nodes.

    Parameters
    ----------
    title
        Title of the figure.
    graph
        The model's graph.
    nodes
        Names of heads and MLPs, and the change of each: a fixed word that sets the colour. Pointing at a mark
        shows both. `input` and `logits` are not shown.
    """
    inside = [(name, change) for name, change in nodes if layer_of(name) is not None]
    width, height = _LEFT + _STEP * (_mlp_column(graph) + 1), _STEP * (graph.num_layers + 1) + 8
    drawing = tag(
        "svg",
        *_layers(graph),
        *(_dot(graph, name, change) for name, change in inside),
        tag("text", "heads", x=str(_LEFT), y=str(height - 3)),
        tag("text", "MLP", x=str(width), y=str(height - 3), text_anchor="end"),
        viewBox=f"0 0 {width} {height}",
        width=str(width),
        height=str(height),
        role="img",
        aria_label=f"{title}: {len(inside)} heads and MLPs by layer, named in the lists below",
    )
    return tag("figure", tag("figcaption", title), drawing, class_="node-map")


def _layers(graph: Graph) -> list[Html]:
    """A faint row of marks per layer, and the numbers of some layers."""
    rows = []
    every = -(-graph.num_layers // _MOST_NUMBERS)
    for layer, shape in enumerate(graph.layers):
        y = str(_y_of(graph, layer))
        heads = [(0, shape.num_heads - 1)] if shape.num_heads else []
        for first, last in heads + [(_mlp_column(graph),) * 2] * shape.has_mlp:
            # A line of round dots with gaps.
            rows.append(
                tag("line", class_="places", x1=str(_x_of(first)), x2=str(_x_of(last) + 0.01), y1=y, y2=y)
            )
        if layer % every == 0:
            rows.append(tag("text", str(layer), x=str(_LEFT - 8), y=y, dy="0.35em", text_anchor="end"))
    return rows


def _dot(graph: Graph, name: str, change: str) -> Html:
    layer = layer_of(name) or 0
    head = head_of(name)
    x, y = _x_of(_mlp_column(graph) if head is None else head[1]), _y_of(graph, layer)
    words = tag("title", f"{name}, {change}")
    if head is not None:
        return tag("circle", words, class_=change, cx=str(x), cy=str(y), r="5.5")
    corner = {"x": str(x - 5), "y": str(y - 5)}
    return tag("rect", words, class_=change, width="10", height="10", rx="1.5", **corner)


def _mlp_column(graph: Graph) -> int:
    """To the right of the heads of the widest layer, with a gap."""
    return graph.num_heads + 1


def _x_of(column: int) -> float:
    return _LEFT + _STEP * (column + 0.5)


def _y_of(graph: Graph, layer: int) -> float:
    return _STEP * (graph.num_layers - layer - 0.5)
