"""Whether a model is read correctly: what of its files was used, and its logits beside another program's."""

from kcircuits.checking.check import ModelCheck, check_model
from kcircuits.checking.comparison import Comparison, Difference

__all__ = ["Comparison", "Difference", "ModelCheck", "check_model"]
