"""The result of a comparison of methods over circuit sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from kcircuits.display.result import Panels, Result
from kcircuits.display.text import name_of, printable
from kcircuits.errors import KCircuitsError
from kcircuits.graph.identity import graph_of
from kcircuits.runtime.optional import need
from kcircuits.sizes import sizes_json

if TYPE_CHECKING:
    from pandas import DataFrame

LEVELS = (0.5, 0.9)
"""Levels of faithfulness for which the number of edges is reported."""


@dataclass(frozen=True)
class Point:
    """One circuit, or several random ones of one size.

    Parameters
    ----------
    num_edges
        Edges of the circuit.
    faithfulness
        (m(C) − m(∅)) / (m(M) − m(∅)), as `kcircuits.data.metrics.faithfulness` has it; of several circuits
        the mean.
    spread
        Minimum and maximum faithfulness of several circuits.
    threshold
        ACDC's threshold for the circuit, in units of the metric.
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
        Circuits in the order of the requested sizes or thresholds.
    seconds
        What finding the circuits took: scoring, searching or training, not measuring. None for random
        circuits, which are drawn while they are measured.
    cpr, cmd
        The areas under the curve and between it and 1 (`kcircuits.evaluation.SizeCurve`); None for methods
        that do not give a circuit at every size.
    settings
        The method's options that all of its circuits have in common, as JSON values.
    """

    name: str
    points: tuple[Point, ...]
    seconds: float | None
    cpr: float | None
    cmd: float | None
    settings: dict[str, Any] = field(default_factory=dict)

    def fewest_edges(self, level: float) -> int | None:
        """Edges of the smallest circuit with at least this faithfulness; None if there is none.

        Examples
        --------
        >>> curve = MethodCurve("eap", (Point(10, 0.3), Point(40, 0.95), Point(90, 0.9)), 0.2, None, None)
        >>> curve.fewest_edges(0.9), curve.fewest_edges(1.0)
        (40, None)
        """
        return min((point.num_edges for point in self.points if point.faithfulness >= level), default=None)


@dataclass(frozen=True, eq=False, repr=False)
class SizeComparison(Result):
    """Several methods on the same prompts, measured in the same way.

    Parameters
    ----------
    model
        Identity of the model.
    settings
        Settings as JSON values: "ablation", "metric", "num_prompts", and the sizes.
    full, empty
        The metric of the full model and of no edges, lower is better.
    curves
        One per method, in the requested order.
    """

    WHAT: ClassVar[str] = sizes_json.WHAT

    model: dict[str, Any]
    settings: dict[str, Any]
    full: float
    empty: float
    curves: tuple[MethodCurve, ...]

    @property
    def num_graph_edges(self) -> int:
        """Edges of the model's graph."""
        return graph_of(self.model).num_edges

    def describe(self) -> str:
        """The methods, and the number of edges that each needs for a faithfulness of 0.9."""
        name = name_of(self.model)
        needed = [(curve.name, curve.fewest_edges(LEVELS[-1])) for curve in self.curves]
        text = ", ".join(f"{method} {'–' if edges is None else f'{edges:,}'}" for method, edges in needed)
        title = f"Comparison of {len(self.curves)} methods over circuit sizes in {name}"
        return f"{title}\nedges for a faithfulness of {LEVELS[-1]:g}: {printable(text, 150)}"

    def table(self) -> DataFrame:
        """A row for each circuit (or size of random circuits): method, edges, faithfulness, threshold."""
        need("pandas", "tables")
        from pandas import DataFrame

        total = self.num_graph_edges
        return DataFrame(
            {
                "method": curve.name,
                "num_edges": point.num_edges,
                "fraction": point.num_edges / total,
                "faithfulness": point.faithfulness,
                "low": None if point.spread is None else point.spread[0],
                "high": None if point.spread is None else point.spread[1],
                "threshold": point.threshold,
            }
            for curve in self.curves
            for point in curve.points
        )

    def panels(self) -> Panels:
        """ "faithfulness": a line per method over the share of the edges."""
        from kcircuits.sizes.size_plot import PANELS

        return PANELS

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
                    **({"settings": curve.settings} if curve.settings else {}),
                    "points": [_point(point, total) for point in curve.points],
                }
                for curve in self.curves
            ],
        }

    @classmethod
    def from_json(cls, document: object) -> SizeComparison:
        """Read a document of `to_json`.

        Raises KCircuitsError if it is anything else, comes from a newer version, or does not fit its model's
        graph.
        """
        given = sizes_json.check_document(document)
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
                settings=method.get("settings", {}),  # which older files lack
                **{key: method[key] for key in ("name", "seconds", "cpr", "cmd")},
            )
            for method in given["methods"]
        )
        metric = given["metric"]
        made = cls(given["model"], given["settings"], metric["full"], metric["empty"], curves)
        most = made.num_graph_edges
        for curve in curves:
            for point in curve.points:
                if point.num_edges > most:
                    raise KCircuitsError(
                        f"{curve.name!r} has a circuit of {point.num_edges:,} edges, but the model's "
                        f"graph has only {most:,}"
                    )
        return made


def _point(point: Point, num_graph_edges: int) -> dict[str, Any]:
    return {
        "num_edges": point.num_edges,
        "fraction": point.num_edges / num_graph_edges,
        "faithfulness": point.faithfulness,
        "spread": None if point.spread is None else list(point.spread),
        "threshold": point.threshold,
    }
