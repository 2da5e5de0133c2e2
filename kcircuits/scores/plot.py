"""Plot scores by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcircuits.display.node_grid import draw_node_grid
from kcircuits.display.result import Panels
from kcircuits.scores import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_nodes(axes: Axes, scores: Scores) -> None:
    """Plot the node score of every head and MLP (`Scores.of_senders`) as a heat map."""
    graph = scores.graph
    grid = scores.of_senders()[1:].reshape(graph.num_layers, graph.num_heads + 1)
    draw_node_grid(axes, grid, "sum of the scores of a node's outgoing edges")


PANELS: Panels = {"nodes": draw_nodes}
