"""`kcircuits plan`: what a search will take."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kcircuits.cli.method_options import MethodOptions
from kcircuits.cli.options import JsonOutput, ModelOptions, Running, TaskChoice
from kcircuits.runtime.memory import SMALL, size_text
from kcircuits.runtime.option_fields import option
from kcircuits.task import PromptChoice

if TYPE_CHECKING:
    from kcircuits.planning import Plan


@dataclass(frozen=True)
class PlanRun(Running):
    """How the plan is made."""

    no_time: bool = option(False, help="Run nothing: estimate the memory and leave out the time.")
    no_probe: bool = option(
        False, help="Leave out the expected time of an acdc search, for which a few seconds of it are run."
    )


def command(
    model: ModelOptions,
    prompts: PromptChoice,
    task: TaskChoice,
    method: MethodOptions,
    run: PlanRun,
    output: JsonOutput,
) -> None:
    """Estimate what a search takes: the graph's size, tests, memory, and time after a short measurement.

    Takes the options of `kcircuits discover`; those that do not change the costs are checked and ignored.
    """
    from kcircuits.cli.setup import prepare
    from kcircuits.planning import plan

    asked = prepare(model, prompts, task, run, verbose=not output.as_json)
    made = plan(
        asked.model,
        asked.task,
        method.method,
        memory=run.memory,
        calibrate=not run.no_time,
        probe=not run.no_probe,
    )
    if output.as_json:
        json.dump(made.to_json(), sys.stdout, indent=2)
        print()
    else:
        print(_lines(made))


def _lines(plan: Plan) -> str:
    work = {"runs": plan.runs, "tests at most": plan.tests_at_most, "training steps": plan.steps}
    counted = ", ".join(f"{count:,} {name}" for name, count in work.items() if count) or "1 run"
    lines = [
        (
            "graph",
            f"{plan.num_edges:,} edges, {plan.num_senders:,} senders, {plan.num_receivers:,} receivers",
        ),
        ("prompts", f"{plan.num_prompts:,}, {plan.num_tokens:,} tokens; in portions: {plan.portions:,}"),
        (plan.method, counted),
        ("weights", size_text(plan.weights)),
        ("senders", _senders(plan)),
        ("workspace", f"{size_text(plan.workspace)}; with the senders within {size_text(plan.memory)}"),
        ("measuring", f"{size_text(plan.measuring)}, of the circuit in the end"),
        *([("means", size_text(plan.means))] if plan.means else []),
        ("peak", size_text(plan.peak)),
        ("at least", f"{plan.least_of}{_refused(plan)}"),
    ]
    if plan.available is not None and plan.peak - plan.weights > plan.available:
        left = size_text(plan.available, up=False)
        lines.append(("too much", f"this machine has {left} left for what comes on top of the weights"))
    if plan.expected_seconds is not None:
        lines.append(("time", _expectation(plan)))
    if plan.seconds is not None:
        name = "time" if plan.expected_seconds is None else "time at most"
        if_all = " if every edge had to be tested in the full model" if plan.time_at_most else ""
        lines.append((name, f"about {duration(plan.seconds)}{if_all}"))
    return "\n".join(f"{name:>14}  {text}" for name, text in lines)


def _expectation(plan: Plan) -> str:
    assert plan.expected_seconds is not None and plan.expected_low is not None
    assert plan.expected_high is not None
    text = f"about {duration(plan.expected_seconds)}"
    if plan.probe_finished:
        return f"{text}: the probe ran the whole search"
    low, high = duration(plan.expected_low), duration(plan.expected_high)
    return f"{text}, roughly {low} to {high}, from a probe of the search"


def _refused(plan: Plan) -> str:
    if plan.least <= max(plan.memory, SMALL):
        return ""
    return f"; discover refuses --memory {size_text(plan.memory, up=False)}"


def _senders(plan: Plan) -> str:
    size = f"{size_text(plan.engine)}, kept for every portion"
    again = f"{plan.blocks:,} times for the runs that go together"
    match plan.senders:
        case "memory":
            return size
        case "bfloat16":
            return f"{size}, in bfloat16, which changes the scores a little; read {again}"
        case "host":
            return f"{size}, and {size_text(plan.host)} on the CPU; copied {again}"
    return f"{size}: streams, from which the senders are recomputed {again}"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
