"""Finding circuits: one file per method, one function to call them all.

The package itself can be called like `discover`.
"""

from kcircuits.callable_package import make_callable
from kcircuits.discover.exact import exact_scores
from kcircuits.discover.method import Found, Method, Scorer
from kcircuits.discover.methods import METHODS, SCORERS, method_of, scorer_of
from kcircuits.discover.progress import Progress, ProgressCallback, Steps
from kcircuits.discover.run import StaleMetricError, attribute, discover, select_circuit

__all__ = [
    "METHODS",
    "SCORERS",
    "Found",
    "Method",
    "Progress",
    "ProgressCallback",
    "Scorer",
    "StaleMetricError",
    "Steps",
    "attribute",
    "discover",
    "exact_scores",
    "method_of",
    "scorer_of",
    "select_circuit",
]

make_callable(__name__, discover)
