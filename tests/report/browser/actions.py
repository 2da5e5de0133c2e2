"""What a reader does on the page, and what the page says to it."""

from __future__ import annotations

import re
from typing import Any


def status(page: Any) -> str:
    """The line above the picture."""
    return page.inner_text("#status")


def shown_edges(page: Any) -> int:
    """How many edges the line above the picture says are shown."""
    match = re.search(r"([\d,]+) edges between", status(page))
    assert match, status(page)
    return int(match[1].replace(",", ""))


def slide_to(page: Any, position: int) -> None:
    """Move the slider, as a drag does."""
    page.locator("#size").fill(str(position))


def show_all(page: Any) -> None:
    """Move the slider to its end, by keyboard."""
    page.locator("#size").press("End")


def pin(page: Any, name: str) -> None:
    """Pin a node by searching for it."""
    page.fill("#search", name)
    page.press("#search", "Enter")
    page.fill("#search", "")


def picture(page: Any) -> str:
    """What is in the picture's frame, some frames from now."""
    return page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
             requestAnimationFrame(() => done(document.getElementById('canvas').toDataURL())))))"""
    )


def cursor(page: Any) -> tuple[str, float, float]:
    """The node that the keyboard is at, and its place in the window, as the label above it tells."""
    page.wait_for_selector("#tip:visible")
    picture(page)  # it may be moving to it
    frame = page.locator("#canvas").bounding_box()
    style = page.evaluate("(({left, top}) => [left, top])(document.getElementById('tip').style)")
    left, top = (float(value.removesuffix("px")) for value in style)
    return page.inner_text("#tip"), frame["x"] + left, frame["y"] + top + 10


def details(page: Any) -> str:
    """What stands beside the picture."""
    return re.sub(r"\s+", " ", page.inner_text("#details"))
