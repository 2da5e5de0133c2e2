"""SVG that was just drawn, made fit to stand inside a page."""

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

    Only shapes, text and their looks are taken over: no script, style sheet, link, event, foreign content
    or address outside of the picture, even if a way were found to draw one.

    Parameters
    ----------
    text
        The SVG that graphviz or matplotlib wrote.
    label
        What the picture shows, for those who cannot see it.
    prefix
        Of the identifiers in it, which would collide with those of the page's other pictures.
    """
    source = ET.fromstring(text)
    root = _copy(source, prefix)
    root.set("role", "img")
    root.set("aria-label", printable(label))
    # matplotlib says this in a style sheet, which would be one for the whole page.
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
    """The children that may stay; of a link, which graphviz makes of a tooltip, what is inside of it."""
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
    """Whether a value refers to nothing but parts of the picture."""
    lower = value.lower()
    return "\\" not in value and "@import" not in lower and lower.count("url(") == value.count("url(#")
