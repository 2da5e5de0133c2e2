"""Shared code of matplotlib pictures: one style for papers, reproducible files, and common elements."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kcircuits.display.text import name_of, printable
from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import write_atomically
from kcircuits.runtime.optional import DeferredModule, need

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

# After Okabe and Ito: colour-blind readers can distinguish them.
BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK, GREY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000", "#7a7a7a",
)  # fmt: skip

_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "kcircuits",  # identifiers in the file are the same in each run
    "svg.fonttype": "none",  # text stays text, for searching and for screen readers
    "pdf.fonttype": 42,  # text stays text; journals refuse Type 3
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a "$" in a name is not a formula
    "axes.unicode_minus": True,
}
Draw = Callable[["Figure"], None]
R = TypeVar("R")


def check_picture(path: str | Path) -> str:
    """The file type of a picture: ".svg", ".png" or ".pdf"; raises KCircuitsError for others."""
    kind = Path(path).suffix.lower()
    if kind not in (".svg", ".png", ".pdf"):
        raise KCircuitsError(f"a picture's name must end in .svg, .png or .pdf, got {path}")
    return kind


def save_figure(draw: Draw, path: str | Path, size: tuple[float, float]) -> None:
    """Draw a figure of a size in inches into a .svg, .png or .pdf file, atomically.

    The same drawing gives the same file. Raises KCircuitsError if the name has another ending or the file
    cannot be written.
    """
    kind = check_picture(path)
    if kind == ".svg":
        write_atomically(path, svg_of(draw, size))
        return
    need("matplotlib", "pictures")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    with draw_figure(draw, size) as figure:
        stream = io.BytesIO()
        if kind == ".png":
            FigureCanvasAgg(figure).print_png(stream, metadata={"Software": "kcircuits"})
        else:
            dates: dict[str, Any] = {"CreationDate": None, "Creator": "kcircuits"}
            FigureCanvasPdf(figure).print_pdf(stream, metadata=dates)
    write_atomically(path, stream.getvalue())


def svg_of(draw: Draw, size: tuple[float, float]) -> str:
    """A figure of a size in inches as SVG. The same drawing gives the same text."""
    need("matplotlib", "pictures")
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with draw_figure(draw, size) as figure:
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": "kcircuits"})
        return stream.getvalue()


@contextmanager
def draw_figure(draw: Draw, size: tuple[float, float]) -> Iterator[Figure]:
    """Draw a figure; the context has the settings for writing it."""
    need("matplotlib", "pictures")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # not the user's own style
        matplotlib.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        # The viewer's fonts may have glyphs that this font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        draw(figure)
        yield figure


def add_title(figure: Figure, model: dict[str, Any], text: str, longest: int = 70) -> None:
    """Put the model's name and a short text above a figure."""
    figure.suptitle(f"{name_of(model)} · {printable(text, longest)}", fontsize=9)


def draw_panels(
    figure: Figure,
    left: Callable[[Axes, R], None],
    right: Callable[[Axes, R], None],
    result: R,
    *,
    legend_columns: int,
) -> None:
    """Draw a wide panel and a narrow one, with one legend for both below them."""
    axes = figure.subplots(1, 2, width_ratios=(3, 2))
    left(axes[0], result)
    right(axes[1], result)
    figure.legend(loc="outside lower center", ncols=legend_columns, frameon=False)


def scale_ranks(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with whole ranks as labels."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(base=10))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda rank, _: f"{rank:,.0f}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def label_layers(axes: Axes) -> None:
    """Label the horizontal axis as the number of layers whose output is in the stream."""
    axes.set_xlabel("layers in the stream")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def draw_random_bar(
    axes: Axes,
    place: float,
    values: tuple[float, float, float],
    *,
    width: float,
    colour: str,
    label: str | None,
) -> None:
    """Draw the mean of random runs as a bar, with a line over their range; `values` are low, mean, high."""
    low, mean, high = values
    axes.bar(
        place,
        mean,
        width=width,
        color=colour,
        yerr=[[mean - low], [high - mean]],
        capsize=2,
        error_kw={"linewidth": 0.8},
        label=label,
    )
