"""A big circuit stays quick under the reader's hand."""

from __future__ import annotations

import math
import time

from kcircuits.graph import Graph
from kcircuits.report.page import write_report
from tests.report.browser.actions import picture, show_all, shown_edges
from tests.report.browser.example import random_circuit

COUNT_FRAMES = """() => {
  const times = window.frames = [performance.now()];
  const count = () => {
    if (window.frames !== times) return;  // another second is counted by now
    times.push(performance.now());
    requestAnimationFrame(count);
  };
  requestAnimationFrame(count);
}"""


def test_panning_5000_edges(opened, tmp_path):
    """More than 20 frames per second while the pointer drags the picture all over its frame and beyond.

    That is what the page can do: the best of three seconds, as other tests run beside this one.
    """
    random_circuit(Graph(30, 9, 3), 5000, 0).save(tmp_path / "circuit.json")
    page = opened(write_report(tmp_path))
    show_all(page)
    assert shown_edges(page) == 5000
    before = picture(page)
    frame = page.locator("#canvas").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    rates = []
    for _ in range(3):
        page.evaluate(COUNT_FRAMES)
        start, moves = time.monotonic(), 0
        while time.monotonic() - start < 1:
            moves += 1
            page.mouse.move(x + 300 * math.sin(moves / 30), y + 250 * math.sin(moves / 41))
        frames = page.evaluate("[frames.length - 1, (frames[frames.length - 1] - frames[0]) / 1000]")
        # Frames count only if the pointer moves as often, or nothing was panned.
        rates.append(min(frames[0], moves) / frames[1])
    page.mouse.up()
    assert picture(page) != before
    print("frames per second:", [round(rate, 1) for rate in rates])
    assert max(rates) > 20
