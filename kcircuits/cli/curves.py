"""`kcircuits curves`: the answer's rank and probability after each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kcircuits.cli.readings import CircuitReadingOptions
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.analysis.bands import Band
    from kcircuits.analysis.curves.results import Curves

_TITLES = {
    "rank": "rank",
    "probability": "prob.",
    "subject_best_rank": "best rank, subject",
    "subject_last_probability": "prob., subject",
}


@dataclass(frozen=True)
class CurveOptions(Options):
    """How the bands are made."""

    title: ClassVar[str] = "Curves"

    seed: int = option(0, like=(EdgePruning, "seed"), least=0)


def command(asked: CircuitReadingOptions, bootstrap: CurveOptions) -> None:
    """Read rank and probability of the answer after each layer, in the full model and in a circuit."""
    loaded = asked.load()
    from kcircuits.analysis.curves.plot import draw_curves
    from kcircuits.analysis.curves.reading import layer_curves

    found = layer_curves(
        loaded.model,
        loaded.task,
        loaded.circuit,
        seed=bootstrap.seed,
        memory=asked.run.memory,
    )
    asked.output.finish("curves", asked.with_input(found, loaded), loaded.folder, draw_curves, _show)


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
