"""How good a circuit is, beside the full model, nothing at all, and random circuits of its size.

The package itself can be called like `evaluate`.
"""

from kcircuits.callable_package import make_callable
from kcircuits.evaluate.evaluation import Evaluation, RunMeasures
from kcircuits.evaluate.known import answer_ranks
from kcircuits.evaluate.readout import read_answers
from kcircuits.evaluate.run import evaluate

__all__ = ["Evaluation", "RunMeasures", "answer_ranks", "evaluate", "read_answers"]

make_callable(__name__, evaluate)
