"""Draw results of benchmarks: peers.svg, growth.svg and study.svg in docs/images, if they were measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from machine import RESULTS
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
# Colours after Okabe and Ito, as in the package's pictures.
TOOLS = {
    "kcircuits": "#d55e00",
    "TransformerLens hooks": "#0072b2",
    "auto-circuit": "#009e73",
    "plain Hugging Face": "#7a7a7a",
}
METHODS = {
    "acdc": ("#d55e00", "o", "ACDC, per evaluation"),
    "eap": ("#56b4e9", "s", "EAP"),
    "eap-ig-inputs": ("#0072b2", "^", "EAP-IG, 5 steps"),
    "masked runs": ("#7a7a7a", "x", "16 masked runs"),
}
DOMAINS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#7a7a7a")
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "kcircuits",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 8,
}


@contextmanager
def save_drawing(name: str, width: float, height: float) -> Iterator[Figure]:
    """A figure that is written as docs/images/<name>.svg. The same numbers give the same text."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path = IMAGES / f"{name}.svg"
        with path.open("w") as stream:
            FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": "kcircuits"})
        print("written:", path)


def draw_peers(results: dict[str, Any]) -> None:
    """A bar for every tool at every task, on a logarithmic axis."""
    cases = results["cases"]
    rows = [len(case["rows"]) for case in cases]
    with save_drawing("peers", 7.2, 0.6 + sum(0.2 * count + 0.45 for count in rows)) as figure:
        panels = figure.subplots(len(cases), 1, height_ratios=[count + 1 for count in rows], squeeze=False)
        for axes, case in zip(panels[:, 0], cases, strict=True):
            draw_case(axes, case)


def draw_case(axes: Axes, case: dict[str, Any]) -> None:
    rows = case["rows"]
    seconds = [row["seconds"] for row in rows]
    places = range(len(rows))
    axes.barh(places, seconds, color=[TOOLS[row["tool"]] for row in rows], height=0.75)
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / 3, max(seconds) * 8)
    axes.set_yticks(places, [f"{row['tool']}: {row['method']}" for row in rows])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} s"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    for place, row in zip(places, rows, strict=True):
        scaled = f" (from {row['measured_tests']} tests)" if "measured_tests" in row else ""
        axes.text(row["seconds"] * 1.15, place, readable(row["seconds"]) + scaled, va="center")
    axes.spines[["top", "right"]].set_visible(False)
    prompts = f"{case['prompts']} prompt" + ("s" if case["prompts"] > 1 else "")
    axes.set_title(f"{case['model']} · {case['task']} · {prompts}", fontsize=8, loc="left")


def readable(seconds: float) -> str:
    """A duration in a suitable unit."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def draw_growth(results: dict[str, Any]) -> None:
    """A panel for each axis. ACDC's seconds are per evaluation, as their number depends on the effects."""
    axes_measured = results["axes"]
    with save_drawing("growth", 7.2, 4.2) as figure:
        panels = figure.subplots(2, 4).flat
        for axes, (name, measured) in zip(panels, axes_measured.items(), strict=False):
            draw_axis(axes, name, measured)
        handles, labels = figure.axes[1].get_legend_handles_labels()
        for axes in figure.axes[len(axes_measured) :]:
            axes.set_axis_off()
        figure.axes[-1].legend(handles, labels, loc="center", frameon=False)
        figure.supylabel("seconds (ACDC: milliseconds per evaluation)", fontsize=8)


def draw_axis(axes: Axes, name: str, measured: dict[str, Any]) -> None:
    for method, (colour, marker, label) in METHODS.items():
        if method not in measured:
            continue
        points = measured[method]["points"]
        heights = [
            1000 * point["seconds"] / point["evaluations"] if method == "acdc" else point["seconds"]
            for point in points
        ]
        sizes = [point["size"] for point in points]
        axes.loglog(sizes, heights, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
    axes.set_title(name, fontsize=8)
    if name != "edges kept":  # all methods have the same sizes on the other axes
        axes.set_xticks(sizes if len(sizes) <= 4 else sizes[::2])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color="#dddddd", linewidth=0.5)


def draw_study(results: dict[str, Any]) -> None:
    """How often each layer's heads and MLP are in the circuits of a domain."""
    with save_drawing("study", 7.2, 2.6) as figure:
        panels = figure.subplots(1, 2, sharex=True)
        frequency = results["shared"]["frequency"]
        kinds = {"heads": "a layer's heads (mean)", "mlp": "its MLP"}
        for axes, (kind, title) in zip(panels, kinds.items(), strict=True):
            for colour, (domain, layers) in zip(DOMAINS, frequency.items(), strict=False):
                axes.plot([100 * each[kind] for each in layers], color=colour, label=domain, linewidth=1.2)
            axes.set_title(f"{title}: in how many of the circuits", fontsize=8, loc="left")
            axes.set_xlabel("layer")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].legend(frameon=False, loc="upper left")


def main() -> None:
    for name, draw in {"peers": draw_peers, "growth": draw_growth, "study": draw_study}.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            draw(json.loads(path.read_text()))
        else:
            print(f"not drawn: {name}, because {path} does not exist")


if __name__ == "__main__":
    main()
