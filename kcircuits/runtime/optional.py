"""Optional packages: which extra installs each of them, and the error if one is missing."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from kcircuits.errors import KCircuitsError

EXTRAS = {
    "gguf": "gguf",
    "graphviz": "viz",
    "matplotlib": "viz",
    "networkx": "interop",
    "pandas": "interop",
    "pyarrow": "sweep",
    "ray": "ray",
    "yaml": "sweep",
}
"""Name of the imported package -> the extra of `kcircuits` that installs it."""


def need(module: str, what: str) -> ModuleType:
    """Import a module of an optional package.

    Parameters
    ----------
    module
        Such as "matplotlib" or "pyarrow.parquet"; the package before the first dot is in `EXTRAS`.
    what
        What needs it, in the plural: the subject of the error message.

    Raises
    ------
    KCircuitsError
        If the package is not installed or cannot be imported; the message says how to install it.

    Examples
    --------
    >>> need("yaml", "sweep files").__name__
    'yaml'
    """
    package = module.partition(".")[0]
    remedy = f"pip install 'kcircuits[{EXTRAS[package]}]'"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != package:
            raise KCircuitsError(f"{what} need {package}, which lacks {error.name}: {remedy}") from error
        raise KCircuitsError(f"{what} need {package}: {remedy}") from error
    except ImportError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise KCircuitsError(
            f"{what} need {package}, which cannot be imported ({reason}): {remedy}"
        ) from error


def is_installed(package: str) -> bool:
    """Whether an optional package is installed, without importing it."""
    return find_spec(package) is not None


class DeferredModule:
    """A module that is imported with `need` when one of its names is first used.

    A module that can be used without the optional package writes

        if TYPE_CHECKING:
            import yaml
        else:
            yaml = DeferredModule("yaml", "sweep files")
    """

    def __init__(self, module: str, what: str) -> None:
        self._module, self._what = module, what

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # doctest and pickle look these up; the answer does not need the module
            raise AttributeError(name)
        return getattr(need(self._module, self._what), name)
