"""The tables of `kcircuits discover --profile`, for a terminal of 100 columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kcircuits.cli.console import table_console
from kcircuits.engine.profile import FAST, Profile, Total, Work

COLUMNS = ("seconds", "time", "GFLOP", "GFLOP/s", "of GEMM", "GB", "GB/s")


def print_profile(profile: Profile) -> None:
    """Print on stdout what each op took in all layers, products by their rows, and each layer and op."""
    console = table_console()
    by_op = _table("Where the time goes", ("op",))
    for name, total in profile.by(lambda work: work.name).items():
        by_op.add_row(name, *_cells(total, profile))
    by_op.add_row("Python", *_cells(Total(profile.python_seconds, 0, 0), profile))
    console.print(by_op)

    by_rows = _table("Products with weights, by their rows", ("rows",))
    for rows, total in sorted(profile.products().by(lambda work: work.rows).items()):
        by_rows.add_row(rows_of_products(rows), *_cells(total, profile))
    console.print(by_rows)

    by_layer = _table("Layers", ("layer", "op"))
    for (layer, name), total in sorted(profile.by(_layer_and_name).items()):
        by_layer.add_row("" if layer < 0 else str(layer), name, *_cells(total, profile))
    console.print(by_layer)
    console.print(_sentence(profile))


def _layer_and_name(work: Work) -> tuple[int, str]:
    return -1 if work.layer is None else work.layer, work.name


def rows_of_products(rows: int) -> str:
    """What was rounded up to this power of two."""
    return str(rows) if rows <= 2 else f"{rows // 2 + 1} to {rows}"


def _table(title: str, names: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in names:
        table.add_column(name)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    return table


def _cells(total: Total, profile: Profile) -> tuple[str, ...]:
    cells = (f"{total.seconds:.3f}", f"{total.seconds / profile.seconds:.1%}")
    if not total.flop:
        return cells
    return (
        *cells,
        f"{total.flop / 1e9:,.2f}",
        f"{total.flops / 1e9:.1f}",
        f"{total.flops / profile.gemm_flops:.0%}",
        f"{total.bytes / 1e9:,.2f}",
        f"{total.bandwidth / 1e9:.1f}",
    )


def _sentence(profile: Profile) -> str:
    share, fast = profile.products_share(), profile.products_share(FAST)
    speed = profile.gemm_flops / 1e9
    return (
        f"{profile.seconds:.2f} s; GEMM speed {speed:.0f} GFLOP/s (a large product in "
        f"this run).\nProducts with weights take {share:.0%} of the time, those at {FAST:.0%} of that speed "
        f"or more {fast:.0%}.\n"
        "GB: operands read once and results written once; float32 weights give rows / 2 operations per byte."
    )
