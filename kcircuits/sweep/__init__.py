"""Many jobs: a grid of models, prompts and methods, done once each, whatever happens on the way.

The package itself can be called like `sweep`.
"""

from kcircuits.callable_package import make_callable
from kcircuits.sweep.loop import DiskFullError, Update
from kcircuits.sweep.run import SweepResult, sweep

__all__ = ["DiskFullError", "SweepResult", "Update", "sweep"]

make_callable(__name__, sweep)
