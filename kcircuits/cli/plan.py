"""`kcircuits plan`: what a search will take."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kcircuits.cli import options
from kcircuits.cli.discover import Method
from kcircuits.cli.prompts import Source
from kcircuits.runtime.memory import SMALL, size_text
from kcircuits.task import Task

if TYPE_CHECKING:
    from kcircuits.planning import Plan


def command(
    model: options.MODEL,
    prompts: options.PROMPTS = None,
    relation: options.RELATION = None,
    template: options.TEMPLATE = None,
    limit: options.LIMIT = None,
    shuffle_seed: options.SHUFFLE_SEED = None,
    top_k: options.TOP_K = None,
    prompt: options.PROMPT = None,
    answer: options.ANSWER = None,
    corrupt: options.CORRUPT = None,
    wrong: options.WRONG = None,
    first_token: options.FIRST_TOKEN = False,
    method: Annotated[Method, typer.Option("--method", help="How to search.")] = "acdc",
    ablation: options.ABLATION = None,
    metric: options.METRIC = "nll",
    ig_steps: Annotated[
        int | None,
        typer.Option("--ig-steps", metavar="N", help="Steps of integrated gradients. [default: 5]"),
    ] = None,
    qk_fix: Annotated[bool, typer.Option("--qk-fix", help="As for discover.")] = False,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="Training steps of edge-pruning at most. [default: 300]"),
    ] = None,
    senders: options.SENDERS = None,
    no_time: Annotated[
        bool, typer.Option("--no-time", help="Run nothing: memory alone, and no estimate of the time.")
    ] = False,
    dtype: options.DTYPE = "float32",
    device_map: options.DEVICE_MAP = None,
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    as_json: options.JSON = False,
) -> None:
    """Say what a search will take: the graph's size, tests, memory, and time after a short measurement."""
    source = Source(
        prompts, relation, template, limit, shuffle_seed, top_k, prompt, answer, corrupt, wrong, first_token
    )
    from kcircuits.cli.setup import prepare
    from kcircuits.discovery import method_of
    from kcircuits.planning import plan

    given: dict[str, Any] = {
        "ig_steps": ig_steps, "qk_fix": qk_fix or None, "steps": steps, "senders": senders
    }  # fmt: skip
    loaded, chosen = prepare(
        model,
        source,
        with_partners=options.with_partners(ablation, metric),
        memory=memory,
        threads=threads,
        dtype=dtype,
        device_map=device_map,
        say=not as_json,
    )
    made = plan(
        loaded,
        Task(chosen.prompts, ablation, metric),  # type: ignore[arg-type]  # None is resolved by the task
        method_of(method, {name: value for name, value in given.items() if value is not None}),
        memory=memory,
        calibrate=not no_time,
    )
    if as_json:
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
    if plan.seconds is not None:
        if_all = " if every edge had to be tested in the full model" if plan.time_at_most else ""
        lines.append(("time", f"about {duration(plan.seconds)}{if_all}"))
    return "\n".join(f"{name:>14}  {text}" for name, text in lines)


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
