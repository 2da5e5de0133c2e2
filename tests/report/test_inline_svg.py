"""Pictures inside a page: nothing but shapes and text gets in."""

from __future__ import annotations

import re

import pytest

from kcircuits.circuit.drawing import circuit_svg, dot_available
from kcircuits.display.inline_svg import inline_svg
from kcircuits.sizes.size_plot import sizes_svg
from tests.report.results import circuit, comparison

OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


def inlined(content):
    return inline_svg(f"{OPEN}{content}</svg>", "a picture", "p-")


@pytest.mark.parametrize(
    "content",
    [
        "<script>EVIL</script>",
        "<style>EVIL</style>",
        "<foreignObject><p>EVIL</p></foreignObject>",
        '<image href="EVIL"/>',
        '<a href="EVIL"><text>x</text></a>',
        '<a xlink:href="javascript:EVIL"><text>x</text></a>',
        '<use xlink:href="http://EVIL"/>',
        '<path onload="EVIL"/>',
        '<path style="fill: url(http://EVIL)"/>',
        '<path style="fill: url(#a), url( http://EVIL)"/>',
        '<path style="fill: \\75rl(http://EVIL)"/>',
        '<path fill="URL(#EVIL)"/>',
        "<animate>EVIL</animate>",
        "<!-- EVIL --><?EVIL?>",
        "<metadata>EVIL</metadata>",
    ],
)
def test_what_stays_out(content):
    assert "EVIL" not in inlined(content)


def test_shapes_and_references_stay():
    text = inlined(
        '<defs><path id="m" d="M 0 0"/></defs><use xlink:href="#m" x="1"/>'
        '<g clip-path="url(#m)"><text>a&lt;b</text></g>'
    )
    assert 'id="p-m" d="M 0 0"' in text
    assert 'href="#p-m" x="1"' in text
    assert 'clip-path="url(#p-m)"' in text
    assert "<text>a&lt;b</text>" in text
    assert 'role="img" aria-label="a picture"' in text


def test_a_tooltip_becomes_a_title():
    assert "<g><title>tip &lt;q&gt;</title><text>x</text></g>" in inlined(
        '<a xlink:title="tip &lt;q&gt;"><text>x</text></a>'
    )


@pytest.mark.parametrize("kind", ["circuit", "sizes"])
def test_what_we_draw_keeps_its_shapes_and_text(kind):
    if kind == "circuit" and not dot_available():
        pytest.skip("graphviz' program dot is not installed")
    text = circuit_svg(circuit()) if kind == "circuit" else sizes_svg(comparison())
    made = inline_svg(text, "label", "p-")
    for name in ("path", "text", "use", "polygon", "ellipse"):
        assert len(re.findall(f"<{name}[ >]", made)) == len(re.findall(f"<{name}[ >]", text))
    defined = set(re.findall(r'id="([^"]+)"', made))
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', made))
    assert referred <= defined
    assert all(name.startswith("p-") for name in defined)
    if kind == "circuit":
        assert "a1.h1-&gt;logits 3" in made
