"""What a comparison of methods over sizes says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files import write_atomically
from kcircuits.identity import graph_of
from kcircuits.sizes import sizes_json

LEVELS = (0.5, 0.9)
"""Of the faithfulness: how many edges does a method need for each?"""


@dataclass(frozen=True)
class Point:
    """One circuit, or several random ones of one size.

    Parameters
    ----------
    num_edges
        Edges of the circuit.
    faithfulness
        (m(C) − m(∅)) / (m(M) − m(∅)), as `kcircuits.metrics.faithfulness` has it; of several circuits the
        mean.
    spread
        The lowest and the highest faithfulness of several circuits.
    threshold
        What ACDC found the circuit with, in units of the metric.
    """

    num_edges: int
    faithfulness: float
    spread: tuple[float, float] | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class MethodCurve:
    """The circuits of one method.

    Parameters
    ----------
    name
        The method, or "random".
    points
        In the order of the sizes or thresholds that were asked for.
    seconds
        What finding the circuits took: scoring, searching or training, not measuring. None for random
        circuits, which are drawn while they are measured.
    cpr, cmd
        The areas under the curve and between it and 1 (`kcircuits.evaluation.SizeCurve`); None for methods
        that do not give a circuit at every size.
    """

    name: str
    points: tuple[Point, ...]
    seconds: float | None
    cpr: float | None
    cmd: float | None

    def fewest_edges(self, level: float) -> int | None:
        """Edges of the smallest circuit that is at least so faithful; None where there is none.

        Examples
        --------
        >>> curve = MethodCurve("eap", (Point(10, 0.3), Point(40, 0.95), Point(90, 0.9)), 0.2, None, None)
        >>> curve.fewest_edges(0.9), curve.fewest_edges(1.0)
        (40, None)
        """
        return min((point.num_edges for point in self.points if point.faithfulness >= level), default=None)


@dataclass(frozen=True)
class SizeComparison:
    """Several methods on the same prompts, measured in the same way.

    Parameters
    ----------
    model
        Identity of the model.
    settings
        How it was done, as JSON values: "ablation", "metric", "num_prompts", and the options.
    full, empty
        The metric of the full model and of no edges, lower is better.
    curves
        One per method, in the order in which they were asked for.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    full: float
    empty: float
    curves: tuple[MethodCurve, ...]

    @property
    def num_graph_edges(self) -> int:
        """Edges of the model's graph."""
        return graph_of(self.model).num_edges

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; each point has its share of the graph's edges, "fraction", too."""
        total = self.num_graph_edges
        return {
            "format": sizes_json.FORMAT,
            "model": self.model,
            "settings": self.settings,
            "metric": {"full": self.full, "empty": self.empty},
            "num_graph_edges": total,
            "methods": [
                {
                    **{key: getattr(curve, key) for key in ("name", "seconds", "cpr", "cmd")},
                    "points": [_point(point, total) for point in curve.points],
                }
                for curve in self.curves
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write sizes.json, atomically.

        Raises KCircuitsError if the place cannot be written or the settings are not JSON values.
        """
        write_atomically(path, sizes_json.to_text(self.to_json()))

    @classmethod
    def load(cls, path: str | Path) -> SizeComparison:
        """Read what `save` wrote.

        Raises
        ------
        KCircuitsError
            If the file cannot be read, is no comparison, comes from a newer version, or does not fit its own
            model's graph. The message starts with the path.
        """
        document = sizes_json.read(path)
        curves = tuple(
            MethodCurve(
                points=tuple(
                    Point(
                        each["num_edges"],
                        each["faithfulness"],
                        None if each["spread"] is None else (each["spread"][0], each["spread"][1]),
                        each["threshold"],
                    )
                    for each in method["points"]
                ),
                **{key: method[key] for key in ("name", "seconds", "cpr", "cmd")},
            )
            for method in document["methods"]
        )
        metric = document["metric"]
        loaded = cls(document["model"], document["settings"], metric["full"], metric["empty"], curves)
        try:
            most = loaded.num_graph_edges
        except KCircuitsError as error:
            raise KCircuitsError(f"{path}: {error}") from error
        for curve in curves:
            for point in curve.points:
                if point.num_edges > most:
                    raise KCircuitsError(
                        f"{path}: {curve.name!r} has a circuit of {point.num_edges:,} edges, and the model's "
                        f"graph has {most:,}"
                    )
        return loaded


def _point(point: Point, num_graph_edges: int) -> dict[str, Any]:
    return {
        "num_edges": point.num_edges,
        "fraction": point.num_edges / num_graph_edges,
        "faithfulness": point.faithfulness,
        "spread": None if point.spread is None else list(point.spread),
        "threshold": point.threshold,
    }
