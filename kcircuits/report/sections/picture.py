"""The HTML of the interactive picture, which scripts fill: controls, canvas and side panel."""

from __future__ import annotations

from collections.abc import Sequence

from kcircuits.analysis.roles.results import ROLES
from kcircuits.display.html import Html, tag, void
from kcircuits.report.graph_data import CHANGES

_KINDS = {"q": "query", "k": "key", "v": "value", "mlp": "MLP", "logits": "logits"}
_HELP = (
    "Drag to move. To zoom, use the buttons, Ctrl and the mouse wheel, or two fingers. Keyboard: arrow keys "
    "select a node, Enter pins it, Escape unpins it, plus and minus zoom, 0 fits the circuit, Shift and "
    "arrow keys move the picture."
)


def interactive_picture(
    label: str, kinds: Sequence[str], has_roles: bool, compared: bool, has_sizes: bool, has_readings: bool
) -> Html:
    """The HTML, hidden until the scripts have filled it.

    Parameters
    ----------
    label
        Description of the picture for screen readers.
    kinds
        Kinds of edges in the picture.
    has_roles, compared, has_sizes, has_readings
        Whether there are roles, another circuit, methods over sizes and readings of heads.
    """
    return tag(
        "div",
        _choices(kinds, has_roles, compared),
        tag("div", tag("p", "", id="status", role="status"), _zoom(), class_="above"),
        tag("div", _stage(label), _side_panel(has_sizes, has_readings), class_="stage"),
        _legend(has_roles),
        tag("p", _HELP, id="canvas-help", class_="note"),
        tag("details", tag("summary", "The nodes as a list"), id="node-list"),
        id="graph",
        hidden="",
    )


def _size(has_sizes: bool) -> Html:
    slider = void("input", type="range", id="size", min="0", max="0", value="0", step="1")
    shown = tag("span", id="size-shown")
    parts = [tag("label", "Edges", for_="size"), shown, slider]
    if has_sizes:
        note = "Circuits of each method. The vertical line marks the number of edges chosen with the slider."
        parts += [tag("div", id="size-chart", class_="chart"), tag("p", note, class_="note")]
    return tag("div", *parts, class_="size controls")


def _choices(kinds: Sequence[str], has_roles: bool, compared: bool) -> Html:
    search = void(
        "input", type="search", id="search", list="node-names", autocomplete="off", placeholder="a3.h5"
    )
    parts = [
        tag("div", tag("label", "Find a node", for_="search"), search, tag("datalist", id="node-names")),
        tag("fieldset", tag("legend", "Edges into"), *(_box(kind) for kind in kinds), id="kinds"),
    ]
    if has_roles:
        options = [tag("option", "all nodes", value="all")]
        options += [tag("option", f"{role} heads", value=role) for role in ROLES]
        parts.append(tag("div", tag("label", "Edges of", for_="role"), tag("select", *options, id="role")))
    if compared:
        parts.append(tag("fieldset", tag("legend", "Colour"), _radio("kind", True), _radio("change", False)))
        changes = [_item(f"key {change}", change) for change in CHANGES]
        parts.append(tag("ul", *changes, class_="legend", data_legend="change", hidden=""))
    return tag("div", *parts, class_="choices controls")


def _box(kind: str) -> Html:
    box = void("input", type="checkbox", value=kind, checked="")
    return tag("label", box, tag("span", "", class_=f"key {kind}", aria_hidden="true"), _KINDS[kind])


def _radio(value: str, checked: bool) -> Html:
    chosen = {"checked": ""} if checked else {}
    text = {"kind": "by receiver", "change": "by change"}[value]
    return tag("label", void("input", type="radio", name="colour", value=value, **chosen), text)


def _stage(label: str) -> Html:
    canvas = tag(
        "canvas",
        id="canvas",
        tabindex="0",
        role="application",
        aria_label=label,
        aria_describedby="canvas-help",
    )
    return tag("div", canvas, tag("div", id="tip", hidden=""), class_="frame")


def _zoom() -> Html:
    return tag(
        "div",
        tag("button", "+", type="button", id="zoom-in", aria_label="Zoom in"),
        tag("button", "−", type="button", id="zoom-out", aria_label="Zoom out"),
        tag("button", "Fit", type="button", id="zoom-fit", aria_label="Fit the whole circuit"),
        class_="zoom",
    )


def _side_panel(has_sizes: bool, has_readings: bool) -> Html:
    parts = [_size(has_sizes)]
    if has_readings:
        parts.append(tag("div", id="reading-place", class_="reading-place"))
    parts.append(tag("div", id="details", tabindex="-1", role="region", aria_label="The chosen node"))
    return tag("div", *parts, class_="beside")


def _legend(has_roles: bool) -> Html:
    """Marks that the controls do not explain."""
    items = [_item("key dashed", "negative score"), _item("square", "MLP"), tag("li", "width: |score|")]
    if has_roles:
        items += [_item(f"disc {role}", role) for role in ROLES]
    return tag("ul", *items, class_="legend", data_legend="kind")


def _item(mark: str, text: str) -> Html:
    return tag("li", tag("span", "", class_=mark, aria_hidden="true"), text)
