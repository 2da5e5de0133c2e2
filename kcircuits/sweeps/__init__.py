"""Sweeps: many jobs on a grid of models, prompts and methods, which can be stopped and resumed."""

from kcircuits.sweeps.loop import DiskFullError, Update
from kcircuits.sweeps.run import SweepResult, sweep

__all__ = ["DiskFullError", "SweepResult", "Update", "sweep"]
