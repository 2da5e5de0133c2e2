"""What every command does first: threads, model, prompts and task, checked."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kcircuits.cli.options import Memory, ModelOptions, ModelSource, Running, TaskChoice, Threads
from kcircuits.task import PromptChoice, Task
from kcircuits.task.prompt_choice import ChosenPrompts, choose

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt
    from kcircuits.model.loading import Model


@dataclass(frozen=True)
class Experiment:
    """A model, what is asked of it, and how its prompts were chosen."""

    model: Model
    task: Task
    chosen: ChosenPrompts


def prepare(
    source: ModelSource, prompts: PromptChoice, options: TaskChoice, run: Running, *, verbose: bool
) -> Experiment:
    """Load the model, choose the prompts and make the task; `verbose` prints how many prompts there are."""
    model = load(source, run)
    chosen = choose_prompts(model, prompts, run, with_partners=options.needs_partners, verbose=verbose)
    reference = read_reference(options.reference_prompts, model)
    return Experiment(model, Task.of(options, chosen.prompts, reference), chosen)


def choose_prompts(
    model: Model, prompts: PromptChoice, run: Memory, *, with_partners: bool, verbose: bool
) -> ChosenPrompts:
    """The prompts that were asked for; `verbose` prints on stderr how many these are."""
    from kcircuits.evaluation import answer_ranks

    ranks = partial(answer_ranks, model, memory=run.memory)
    chosen = choose(prompts, model, ranks, with_partners=with_partners)
    if verbose:
        print(chosen, file=sys.stderr)
    return chosen


def load(source: ModelSource, run: Threads | Running) -> Model:
    """Load the model; a memory budget is only checked."""
    import torch

    from kcircuits.model.loading import KEPT, load_model
    from kcircuits.runtime.memory import memory_bytes

    if isinstance(run, Memory):
        memory_bytes(run.memory)  # a bad size is told before a large model is loaded
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    how: dict[str, Any] = {}
    if isinstance(source, ModelOptions):
        kept = source.dtype if source.dtype in KEPT else getattr(torch, source.dtype)
        how = {"dtype": kept, "device_map": source.device_map}
    loaded = load_model(source.model, **how)
    # What is there by now stays to the end: no collection looks at it again, not even the one at exit.
    gc.freeze()
    gc.enable()
    return loaded


def input_settings(model: ModelSource, prompts: PromptChoice, **more: Any) -> dict[str, Any]:
    """What settings say of a result's input, so that a report can repeat the command.

    Options that were not given are left out, of `more` those that are None, False or empty.
    """
    given = {name: value for name, value in more.items() if value not in (None, False, ())}
    return prompts.half_settings | {"input": model.given_options | prompts.given_options | given}


def read_reference(path: str | None, model: Model) -> tuple[Prompt, ...]:
    """The prompts that mean ablation averages over; none where the task's own are meant."""
    from kcircuits.data.prompts import read_prompts

    if path is None:
        return ()
    spec = model.spec
    # Their answers are not asked for, so it does not matter which token of one is taken.
    return read_prompts(path, model.tokenizer, spec.vocab_size, spec.max_positions, allow_multi_token=True)
