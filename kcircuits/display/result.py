"""Base classes of results, which show, tabulate, draw, save, load and compare themselves."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

import numpy as np

from kcircuits.display.frame import frame_html
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import parse_json, prefix_errors, read_text
from kcircuits.files.writing import write_atomically
from kcircuits.runtime.optional import is_installed, need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

R = TypeVar("R", bound="Result")
Panels = Mapping[str, Callable[["Axes", Any], None]]
"""Functions that draw one aspect of a result into axes, by name. The first is the default."""


class ByContent:
    """A dataclass with arrays that is compared by content."""

    def __eq__(self, other: object) -> bool:
        return are_equal(self, other) if type(self) is type(other) else NotImplemented


class DisplayedResult(ABC):
    """A result that shows, tabulates and draws itself. A frozen dataclass without its own `repr` and `eq`."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "table" in vars(cls):
            cls.table = _with_pandas(cls.table)  # type: ignore[method-assign,assignment]

    @abstractmethod
    def describe(self) -> str:
        """The result in at most three short lines."""

    @abstractmethod
    def table(self) -> DataFrame:
        """The numbers as a pandas table."""

    @abstractmethod
    def panels(self) -> Panels:
        """The panels of `plot` by name. The first is the default."""

    def plot(self, ax: Axes | None = None, panel: str | None = None) -> Axes:
        """Draw into axes.

        Parameters
        ----------
        ax
            matplotlib axes; None makes a new figure through pyplot.
        panel
            One of the names of `panels()`; None draws the first.

        Returns
        -------
        matplotlib.axes.Axes
            The given axes, or the new ones.

        Raises
        ------
        KCircuitsError
            If there is no such panel, or matplotlib is not installed.
        """
        need("matplotlib", "pictures")
        panels = self.panels()
        name = next(iter(panels)) if panel is None else panel
        if name not in panels:
            raise KCircuitsError(f"panel must be one of {', '.join(panels)}; got {panel!r}")
        if ax is None:
            ax = need("matplotlib.pyplot", "pictures").subplots(layout="constrained")[1]
        panels[name](ax, self)
        return ax

    def __repr__(self) -> str:
        return self.describe()

    def _repr_html_(self) -> str | None:
        """The description and the first rows of the table, for notebooks."""
        return frame_html(self.describe(), self.table()) if is_installed("pandas") else None

    def __eq__(self, other: object) -> bool:
        """Whether both have the same type and the same values. NaN equals NaN."""
        return are_equal(self, other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        self._refuse_hash()

    def _refuse_hash(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} has no hash because it contains mappings or arrays: "
            "compare with ==, or use its to_json() text as a key"
        )


class Result(DisplayedResult):
    """A result with a JSON file."""

    WHAT: ClassVar[str]
    """Name of its file in error messages."""
    INDENT: ClassVar[int | None] = 1

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The content of its file as JSON values."""

    @classmethod
    @abstractmethod
    def from_json(cls: type[R], document: object) -> R:
        """Read a document of `to_json`.

        Raises KCircuitsError if the document is anything else.
        """

    def to_text(self) -> str:
        """The content of its file; raises KCircuitsError if a value cannot be written as JSON."""
        try:
            return json.dumps(self.to_json(), indent=self.INDENT, allow_nan=False) + "\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise KCircuitsError(f"the {self.WHAT} cannot be written as JSON: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write a JSON file, atomically.

        Raises KCircuitsError if the file cannot be written or a value is not JSON.
        """
        write_atomically(path, self.to_text())

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Read what `save` wrote.

        Raises
        ------
        KCircuitsError
            If the file cannot be read, comes from a newer version, or has another format. The message starts
            with the path.
        """
        with prefix_errors(path):
            return cls.from_json(parse_json(read_text(path, cls.WHAT), cls.WHAT))


def _with_pandas(table: Callable[[Any], DataFrame]) -> Callable[[Any], DataFrame]:
    """The same method, with an error that tells how to install pandas if it is missing."""

    @wraps(table)
    def tabulated(self: Any, *given: Any, **more: Any) -> DataFrame:
        need("pandas", "tables")
        return table(self, *given, **more)

    return tabulated


def add_legend(draw: Callable[[Axes, Any], None]) -> Callable[[Axes, Any], None]:
    """Add a legend inside the axes to a panel whose figure has one legend for all panels."""

    @wraps(draw)
    def drawn(axes: Axes, result: Any) -> None:
        draw(axes, result)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)

    return drawn


def are_equal(first: Any, second: Any) -> bool:
    """Whether two values are equal: arrays and dataclasses by content, lists like tuples, NaN equals NaN.

    Examples
    --------
    >>> are_equal({"a": np.array([1.0, np.nan])}, {"a": np.array([1.0, np.nan])})
    True
    """
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        if not (isinstance(first, np.ndarray) and isinstance(second, np.ndarray)):
            return False
        return np.array_equal(first, second, equal_nan=first.dtype.kind == second.dtype.kind == "f")
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(are_equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(are_equal, first, second))
    if is_dataclass(first) and type(first) is type(second):
        names = [field.name for field in fields(first) if field.compare]
        return all(are_equal(getattr(first, name), getattr(second, name)) for name in names)
    return bool(first == second) or (first != first and second != second)
