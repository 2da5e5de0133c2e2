"""Finding circuits: one file per method, one function to call them all.

The package itself can be called like `discover`.
"""

from kcircuits.callable_package import make_callable
from kcircuits.discover.method import Found, Method, Progress
from kcircuits.discover.methods import METHODS, method_of
from kcircuits.discover.run import StaleMetricError, discover

__all__ = ["METHODS", "Found", "Method", "Progress", "StaleMetricError", "discover", "method_of"]

make_callable(__name__, discover)
