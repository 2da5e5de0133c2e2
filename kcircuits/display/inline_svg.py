"""SVG pictures as elements of a page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from kcircuits.display.html import Html
from kcircuits.display.text import printable

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}"
_ELEMENTS = {
    *("svg", "g", "path", "polygon", "polyline", "ellipse", "circle", "rect", "line", "text", "tspan"),
    *("title", "defs", "use", "clipPath"),
}
_ATTRIBUTES = {
    *("id", "d", "points", "cx", "cy", "rx", "ry", "r", "x", "y", "x1", "x2", "y1", "y2", "width", "height"),
    *("viewBox", "transform", "style", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray"),
    *("stroke-opacity", "text-anchor", "font-family", "font-size", "font-weight", "clip-path"),
}


def inline_svg(text: str, label: str, prefix: str) -> Html:
    """A picture as an element of a page.

    Only shapes, text and their appearance are kept: no scripts, style sheets, links, events, foreign content
    or external addresses, even if the SVG contains them.

    Parameters
    ----------
    text
        SVG written by graphviz or matplotlib.
    label
        Description of the picture for screen readers.
    prefix
        Prefix for identifiers, so that they do not collide with those of other pictures on the page.
    """
    source = ET.fromstring(text)
    root = _copy(source, prefix)
    root.set("role", "img")
    root.set("aria-label", printable(label))
    # matplotlib sets this in a style sheet, which would apply to the whole page.
    root.set("style", "stroke-linejoin: round")
    ET.register_namespace("", _SVG[1:-1])
    ET.register_namespace("xlink", _LINK[1:-1])
    return Html(ET.tostring(root, encoding="unicode", short_empty_elements=False))


def _copy(element: ET.Element, prefix: str) -> ET.Element:
    copy = ET.Element(element.tag, _attributes(element, prefix))
    copy.text, copy.tail = element.text, element.tail
    for child in _children(element):
        copy.append(_copy(child, prefix))
    return copy


def _children(element: ET.Element) -> Iterator[ET.Element]:
    """The allowed children. graphviz makes links for tooltips: of these, the content."""
    tooltip = element.get(f"{_LINK}title")
    if tooltip is not None:
        title = ET.Element(f"{_SVG}title")
        title.text = tooltip
        yield title
    for child in element:
        if child.tag == f"{_SVG}a":
            group = ET.Element(f"{_SVG}g", {f"{_LINK}title": child.get(f"{_LINK}title", "")})
            group.extend(child)
            yield group
        elif isinstance(child.tag, str) and child.tag.removeprefix(_SVG) in _ELEMENTS:
            yield child


def _attributes(element: ET.Element, prefix: str) -> dict[str, str]:
    kept = {}
    for name, value in element.attrib.items():
        if name == f"{_LINK}href" and value.startswith("#"):
            kept[name] = f"#{prefix}{value[1:]}"
        elif name == "id":
            kept[name] = prefix + value
        elif name in _ATTRIBUTES and _is_harmless(value):
            kept[name] = value.replace("url(#", f"url(#{prefix}")
    return kept


def _is_harmless(value: str) -> bool:
    """Whether a value refers only to parts of the picture."""
    lower = value.lower()
    return "\\" not in value and "@import" not in lower and lower.count("url(") == value.count("url(#")
