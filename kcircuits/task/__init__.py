"""What is asked of a model: prompts, ablation, metric, and changes to the graph."""

from kcircuits.task.check import check_task
from kcircuits.task.task import Ablation, Task

__all__ = ["Ablation", "Task", "check_task"]
