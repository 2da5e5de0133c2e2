"""Methods side by side: how faithful the circuits of each are, over their sizes."""

from kcircuits.sizes.comparison import LEVELS, MethodCurve, Point, SizeComparison
from kcircuits.sizes.methods import named_methods
from kcircuits.sizes.options import SizeOptions
from kcircuits.sizes.progress import MethodProgress
from kcircuits.sizes.random_circuits import RandomCircuits
from kcircuits.sizes.run import DEFAULT_METHODS, check_methods, compare_sizes

__all__ = [
    "DEFAULT_METHODS",
    "LEVELS",
    "MethodCurve",
    "MethodProgress",
    "Point",
    "RandomCircuits",
    "SizeComparison",
    "SizeOptions",
    "check_methods",
    "compare_sizes",
    "named_methods",
]
