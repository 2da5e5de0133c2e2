"""The table of `kcircuits sizes`, for a terminal of 100 columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kcircuits.cli.console import table_console
from kcircuits.sizes import LEVELS, MethodCurve, SizeComparison


def print_table(comparison: SizeComparison) -> None:
    """Print what each method needs for how much, on stdout."""
    console = table_console()
    settings = comparison.settings
    title = (
        f"{comparison.num_graph_edges:,} edges; prompts: {settings['num_prompts']:,}; "
        f"{settings['ablation']} ablation; {settings['metric']}: full model {comparison.full:.4f}, "
        f"no edges {comparison.empty:.4f}"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("method")
    for name in ("circuits", *(f"edges for {level:g}" for level in LEVELS), "CPR", "CMD", "seconds"):
        table.add_column(name, justify="right")
    for curve in comparison.curves:
        table.add_row(*_cells(curve))
    console.print(table)
    console.print(
        "edges for 0.9: the fewest edges of a circuit that is at least so faithful. CPR: greater is better,\n"
        "CMD: less is. seconds: to find the circuits, without measuring them."
    )


def _cells(curve: MethodCurve) -> list[str]:
    sizes = [curve.fewest_edges(level) for level in LEVELS]
    return [
        curve.name,
        f"{len(curve.points):,}",
        *("-" if size is None else f"{size:,}" for size in sizes),
        *("-" if area is None else f"{area:.4f}" for area in (curve.cpr, curve.cmd)),
        "-" if curve.seconds is None else f"{curve.seconds:,.1f}",
    ]
