"""Draw a circuit with Graphviz, layers from the bottom up."""

from __future__ import annotations

import html
import io
import math
import shutil
import subprocess
from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kcircuits.circuit import Circuit, Edge
from kcircuits.circuit.strongest import strongest_part
from kcircuits.display.text import printable
from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import write_atomically
from kcircuits.graph import kind_of, layer_of
from kcircuits.runtime.optional import is_installed, need

if TYPE_CHECKING:
    from graphviz import Digraph
    from matplotlib.axes import Axes

MAX_EDGES = 150
"""More edges than this are hard to follow in one picture."""

_FONT = "DejaVu Sans"
_NODE_STYLES = {
    "head": {"shape": "ellipse", "fillcolor": "#dbe9f6", "color": "#4a7fb0"},
    "mlp": {"shape": "box", "fillcolor": "#fde8c8", "color": "#c08a2e"},
    "end": {"shape": "box", "fillcolor": "#3b4252", "color": "#3b4252", "fontcolor": "white"},
}
# Five colours that colour-blind readers can distinguish (after Okabe and Ito).
_COLOURS = {"q": "#0072b2", "k": "#009e73", "v": "#d55e00", "mlp": "#666666", "logits": "#aa3377"}
_KIND_NAMES = {"q": "query", "k": "key", "v": "value", "mlp": "MLP", "logits": "logits"}


def dot_available() -> bool:
    """Whether `draw` can work: the Python package graphviz and the program `dot` are installed."""
    return is_installed("graphviz") and shutil.which("dot") is not None


def draw(circuit: Circuit, path: str | Path, max_edges: int = MAX_EDGES) -> None:
    """Draw a circuit into a .svg, .png or .pdf file, atomically; `to_dot` describes the picture.

    Raises
    ------
    KCircuitsError
        If the file name has another ending, `dot` is not installed or fails, or the file cannot be written.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in ("svg", "png", "pdf"):
        raise KCircuitsError(f"a picture's name must end in .svg, .png or .pdf, got {path}")
    write_atomically(path, _picture(circuit, kind, max_edges))


def circuit_svg(circuit: Circuit, max_edges: int = MAX_EDGES) -> str:
    """The picture of a circuit as SVG; raises KCircuitsError if `dot` is not installed or fails."""
    return _picture(circuit, "svg", max_edges).decode()


def draw_into(axes: Axes, circuit: Circuit) -> None:
    """Draw a circuit into Matplotlib axes as an image; `to_dot` describes the picture.

    Raises KCircuitsError if `dot` is not installed or fails.
    """
    need("matplotlib", "pictures")
    from matplotlib.image import imread

    axes.imshow(imread(io.BytesIO(_picture(circuit, "png", MAX_EDGES))))
    axes.set_axis_off()


def _picture(circuit: Circuit, kind: str, max_edges: int) -> bytes:
    need("graphviz", "pictures of circuits")
    from graphviz import ExecutableNotFound

    try:
        picture: bytes = _digraph(circuit, max_edges).pipe(format=kind, quiet=True)
    except ExecutableNotFound:
        raise KCircuitsError(
            "drawing needs the program 'dot' of Graphviz, which is not on PATH: install graphviz "
            "(Debian and Ubuntu: apt install graphviz; macOS: brew install graphviz)"
        ) from None
    except subprocess.CalledProcessError as error:
        raise KCircuitsError(f"dot cannot draw the circuit: {error}") from error
    return picture


def to_dot(circuit: Circuit, max_edges: int = MAX_EDGES) -> str:
    """The picture of a circuit in the DOT language of Graphviz.

    One row per sub-block, `input` at the bottom and `logits` at the top. The edges from a node to the
    query, key and value of one head are drawn as one line with a stripe for each. The width of a line shows
    the score of its strongest edge; dashed lines have negative scores. An edge into a key or value that heads
    share is drawn to each of these heads in the circuit. Tooltips (in SVG) give the scores.

    Parameters
    ----------
    circuit
        What to draw.
    max_edges
        If the circuit is larger, only its strongest connected part is drawn
        (`kcircuits.circuit.strongest.strongest_part`), and the title says so.
    """
    return _digraph(circuit, max_edges).source


def _digraph(circuit: Circuit, max_edges: int) -> Digraph:
    if max_edges < 1:
        raise KCircuitsError(f"max_edges must be at least 1, got {max_edges}")
    need("graphviz", "pictures of circuits")
    from graphviz import Digraph

    drawn = replace(circuit, edges=strongest_part(circuit, max_edges))
    dot = Digraph(
        "circuit",
        graph_attr={
            "rankdir": "BT",
            "nodesep": "0.15",
            "ranksep": "0.3",
            "pad": "0.2",
            "fontname": _FONT,
            "fontsize": "11",
            "labelloc": "t",
            "label": _title(circuit, drawn),
        },
        node_attr={
            "fontname": _FONT,
            "fontsize": "10",
            "style": "filled",
            "margin": "0.06,0.03",
            "height": "0.3",
        },
        edge_attr={"arrowsize": "0.5"},
    )
    _add_rows(dot, drawn)
    _add_edges(dot, drawn)
    return dot


def _add_rows(dot: Digraph, circuit: Circuit) -> None:
    """Add the nodes, one row per sub-block; invisible edges between the rows' labels keep them in order."""
    below = None
    for row, nodes in groupby(circuit.nodes, key=_row):
        with dot.subgraph() as rank:
            rank.attr(rank="same")
            rank.node(row, shape="plaintext", style="", fontcolor="#666666")
            for node in nodes:
                rank.node(node, **_NODE_STYLES[_node_kind(node)])
        if below is not None:
            dot.edge(below, row, style="invis", weight="100")
        below = row


def _add_edges(dot: Digraph, circuit: Circuit) -> None:
    lines: dict[tuple[str, str, bool], list[Edge]] = defaultdict(list)
    for edge in circuit.edges:
        for node in circuit.endpoints(edge.receiver):
            lines[edge.sender, node, edge.score < 0].append(edge)
    strongest = max((abs(edge.score) for edge in circuit.edges), default=0.0)
    for (sender, node, negative), edges in lines.items():
        # The square root, because scores of one circuit differ by factors of a thousand.
        strength = math.sqrt(max(abs(edge.score) for edge in edges) / strongest) if strongest else 0.0
        opacity = f"{round(110 + 145 * strength):02x}"
        dot.edge(
            sender,
            node,
            color=":".join(_COLOURS[kind_of(edge.receiver)] + opacity for edge in edges),
            penwidth=f"{0.7 + 3.3 * strength:.2f}",
            style="dashed" if negative else "solid",
            tooltip="\\n".join(f"{edge.sender}->{edge.receiver} {edge.score:.4g}" for edge in edges),
        )


def _row(node: str) -> str:
    """Label of the row in which a node is drawn."""
    layer = layer_of(node)
    if layer is None:
        return "embedding" if node == "input" else "output"
    return f"layer {layer} {'heads' if kind_of(node) == 'head' else 'MLP'}"


def _node_kind(node: str) -> str:
    return "end" if layer_of(node) is None else kind_of(node)


def _title(circuit: Circuit, drawn: Circuit) -> str:
    """The title and legend as an HTML-like label."""
    name = circuit.model.get("name", "a model without a name")
    metric = circuit.settings.get("metric", "metric")
    size = f"{len(circuit.edges):,} of {circuit.graph.num_edges:,} edges, {len(circuit.nodes):,} nodes"
    values = ", ".join(f"{key} {value:.4g}" for key, value in circuit.metric.items())
    lines = [" · ".join([circuit.method, size, *([f"{metric}: {values}"] if values else [])])]
    if len(drawn.edges) < len(circuit.edges):
        lines.append(f"Drawn: the strongest {len(drawn.edges)} edges, including those that connect them")
    heading = f'<font point-size="16"><b>{_escape(name)}</b></font>'
    rows = "".join(f"<tr><td>{row}</td></tr>" for row in [heading, *map(_escape, lines), *_legend(drawn)])
    return f'<<table border="0" cellspacing="0" cellpadding="3">{rows}</table>>'


def _legend(circuit: Circuit) -> list[str]:
    """Rows of the legend for the elements of this picture."""
    used = {kind_of(edge.receiver) for edge in circuit.edges}
    kinds = [
        f'<font color="{colour}"><b>━━ </b></font>{_KIND_NAMES[kind]}'
        for kind, colour in _COLOURS.items()
        if kind in used
    ]
    rows = ["   ".join(["edges into", *kinds, "width: |score|"])] if kinds else []
    if any(edge.score < 0 for edge in circuit.edges):
        rows.append("dashed: negative score")
    if any(len(circuit.endpoints(edge.receiver)) > 1 for edge in circuit.edges):
        rows.append("an edge into a shared key or value is drawn to each of its heads")
    return rows


def _escape(text: object) -> str:
    """Text for an HTML-like label: no markup, and no control characters, which XML cannot hold."""
    return html.escape(printable(text))
