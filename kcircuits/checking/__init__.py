"""Check how a model is read: the parts of its files in use, and its logits against another program."""

from kcircuits.checking.check import ModelCheck, check_model
from kcircuits.checking.comparison import Comparison, Difference

__all__ = ["Comparison", "Difference", "ModelCheck", "check_model"]
