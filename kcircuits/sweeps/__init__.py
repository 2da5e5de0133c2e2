"""Many jobs: a grid of models, prompts and methods, done once each, whatever happens on the way."""

from kcircuits.sweeps.loop import DiskFullError, Update
from kcircuits.sweeps.run import SweepResult, sweep

__all__ = ["DiskFullError", "SweepResult", "Update", "sweep"]
