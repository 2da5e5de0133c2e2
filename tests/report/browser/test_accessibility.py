"""axe-core finds no serious fault, in light and dark, narrow and wide."""

from __future__ import annotations

import pytest

from tests.report.browser.actions import pin
from tests.report.browser.example import CIRCUIT

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright",
    reason="axe-playwright-python, which has axe-core, is not installed",
)


def faults(page):
    found = axe.Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:120] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_no_serious_fault(opened, example, scheme, width):
    """With everything open: what is closed has no faults of its own."""
    page = opened(example, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.check("input[value=change]")
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    pin(page, CIRCUIT.nodes[4])
    assert faults(page) == []
