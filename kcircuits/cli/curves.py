"""`kcircuits curves`: the answer's rank and probability behind every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kcircuits.cli.readings import Asked, reads

if TYPE_CHECKING:
    from kcircuits.analysis.bands import Band
    from kcircuits.analysis.curves.results import Curves

_TITLES = {
    "rank": "rank",
    "probability": "prob.",
    "subject_best_rank": "best rank, subject",
    "subject_last_probability": "prob., subject",
}


@reads
def command(
    asked: Asked,
    *,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="Of the bootstrap.")] = 0,
) -> None:
    """Read the answer behind every layer: its rank and probability, in the full model and in a circuit."""
    loaded = asked.load()
    from kcircuits.analysis.curves.plot import draw_curves
    from kcircuits.analysis.curves.reading import layer_curves

    found = layer_curves(
        loaded.model,
        loaded.task,
        loaded.circuit,
        seed=seed,
        memory=asked.memory,
    )
    asked.finish("curves", asked.recorded(found), loaded.folder, draw_curves, _show)


def _show(curves: Curves) -> None:
    from kcircuits.cli.console import print_rows

    head, columns = ["layers"], []
    for run in curves.runs:
        for name, band in curves.summary(run).items():
            if band is not None:
                head.append(f"{run}: {_TITLES[name]}")
                columns.append([_cell(band, layer, name) for layer in curves.layers])
    rows = [[str(layer), *cells] for layer, *cells in zip(curves.layers, *columns, strict=True)]
    print_rows(f"means over prompts: {len(curves.prompts)}; of ranks the geometric mean", head, rows)


def _cell(band: Band, layer: int, name: str) -> str:
    return f"{band.mean[layer]:,.1f}" if name.endswith("rank") else f"{band.mean[layer]:.4f}"
