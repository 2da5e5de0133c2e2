"""Methods side by side: how faithful the circuits of each are, over their sizes."""

from kcircuits.sizes.comparison import LEVELS, MethodCurve, Point, SizeComparison
from kcircuits.sizes.options import SizeOptions
from kcircuits.sizes.progress import MethodProgress
from kcircuits.sizes.run import DEFAULT_METHODS, check_methods, compare_sizes

__all__ = [
    "DEFAULT_METHODS",
    "LEVELS",
    "MethodCurve",
    "MethodProgress",
    "Point",
    "SizeComparison",
    "SizeOptions",
    "check_methods",
    "compare_sizes",
]
