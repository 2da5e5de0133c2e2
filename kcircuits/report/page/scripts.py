"""The page's scripts, and the policy that allows only these to run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files

from kcircuits.display.html import Html, join

# Each needs the ones before it.
VENDORED = (
    *("d3-dispatch", "d3-color", "d3-interpolate", "d3-selection", "d3-timer", "d3-ease", "d3-transition"),
    *("d3-drag", "d3-zoom", "d3-array", "d3-format", "d3-scale", "d3-axis"),
)
_PAGE = "report/page"
# Scripts of the whole page are in this folder. The script of a section is next to the section.
OWN = (
    *(
        f"{_PAGE}/{name}.js"
        for name in (
            *("dom", "store", "graph", "paths", "layout", "painter", "picture", "view", "readings"),
            *("details", "controls", "keys", "node_list", "chart", "layer_charts"),
        )
    ),
    "sizes/section.js",
    "analysis/curves/section.js",
    "analysis/heads/section.js",
    "analysis/hallucination/section.js",
    "analysis/comparison/section.js",
    "editing/section.js",
    f"{_PAGE}/tables.js",
    f"{_PAGE}/main.js",
)


def scripts() -> tuple[str, str]:
    """The text of two scripts: d3 with its licences, and the page's own."""
    package = files("kcircuits")
    folder = package.joinpath("report/vendor/d3")
    licence = folder.joinpath("LICENSE").read_text(encoding="utf-8")
    vendored = [folder.joinpath(f"{name}.min.js").read_text(encoding="utf-8") for name in VENDORED]
    own = [package.joinpath(path).read_text(encoding="utf-8") for path in OWN]
    return (
        "\n".join([f"/*\n{licence}*/", *vendored]),
        "\n".join(['"use strict";', "(() => {", *own, "})();"]),
    )


def script_elements(texts: Iterable[str]) -> Html:
    """The scripts as elements."""
    return join(Html(f"<script>{text}</script>") for text in texts)


def policy(texts: Iterable[str]) -> Html:
    """The policy of a page that runs only these scripts, and neither fetches nor sends anything."""
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in texts)
    # Pictures have inline styles; with this policy a style cannot fetch anything.
    rules = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return Html(f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">')


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
