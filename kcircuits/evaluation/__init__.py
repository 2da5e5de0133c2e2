"""How good a circuit is, beside the full model, nothing at all, and random circuits of its size.

docs/evaluation.md defines every measure.
"""

from kcircuits.data.metrics import MIB_FRACTIONS
from kcircuits.evaluation.evaluation import Evaluation
from kcircuits.evaluation.intervals import Interval
from kcircuits.evaluation.known import answer_ranks
from kcircuits.evaluation.measures import RunMeasures
from kcircuits.evaluation.minimality import Minimality, minimality
from kcircuits.evaluation.readout import read_answers
from kcircuits.evaluation.roc import Roc, roc
from kcircuits.evaluation.run import evaluate
from kcircuits.evaluation.sizes import SizeCurve, random_curve, size_curve

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
