"""The task of a circuit: prompts, ablation, metric, and changes to the graph."""

from kcircuits.task.check import check_task
from kcircuits.task.prompt_choice import PromptChoice
from kcircuits.task.task import Task
from kcircuits.task.task_options import Ablation, TaskOptions

__all__ = ["Ablation", "PromptChoice", "Task", "TaskOptions", "check_task"]
