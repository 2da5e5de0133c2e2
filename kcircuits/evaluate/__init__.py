"""How good a circuit is, beside the full model, nothing at all, and random circuits of its size.

The package itself can be called like `evaluate`. docs/evaluation.md defines every measure.
"""

from kcircuits.callable_package import make_callable
from kcircuits.evaluate.evaluation import Evaluation
from kcircuits.evaluate.intervals import Interval
from kcircuits.evaluate.known import answer_ranks
from kcircuits.evaluate.measures import RunMeasures
from kcircuits.evaluate.minimality import Minimality, minimality
from kcircuits.evaluate.readout import read_answers
from kcircuits.evaluate.roc import Roc, roc
from kcircuits.evaluate.run import evaluate
from kcircuits.evaluate.sizes import MIB_FRACTIONS, SizeCurve, random_curve, size_curve

__all__ = [
    "MIB_FRACTIONS",
    "Evaluation",
    "Interval",
    "Minimality",
    "Roc",
    "RunMeasures",
    "SizeCurve",
    "answer_ranks",
    "evaluate",
    "minimality",
    "random_curve",
    "read_answers",
    "roc",
    "size_curve",
]

make_callable(__name__, evaluate)
