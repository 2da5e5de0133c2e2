"""`kcircuits evaluate`: measure a circuit beside the full model and random circuits."""

from __future__ import annotations

import json
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Source
from kcircuits.metrics import Metric
from kcircuits.task import Ablation, Task

if TYPE_CHECKING:
    from kcircuits.evaluate import Evaluation, RunMeasures


def command(
    circuit: Annotated[str, typer.Option("--circuit", metavar="FILE", help="A circuit.json.")],
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
    ablation: Annotated[
        Ablation | None, typer.Option("--ablation", help="[default: that of the circuit]")
    ] = None,
    metric: Annotated[Metric | None, typer.Option("--metric", help="[default: that of the circuit]")] = None,
    random_circuits: Annotated[
        int,
        typer.Option("--random", min=0, metavar="N", help="Compare with N random circuits of the same size."),
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="Of the random circuits.")] = 0,
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Write evaluation.json there.")
    ] = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> None:
    """Measure a circuit: the metric, Hit@10, rank and probability of the answer, and faithfulness."""
    source = Source(
        prompts, relation, template, limit, shuffle_seed, top_k, prompt, answer, corrupt, wrong, first_token
    )
    from kcircuits.circuit import Circuit
    from kcircuits.cli.setup import prepare
    from kcircuits.evaluate import evaluate
    from kcircuits.files import check_output_folder, write_atomically

    found = Circuit.load(circuit)
    how = ablation or found.settings.get("ablation", "zero")
    judged_by = metric or found.settings.get("metric", "nll")
    loaded, chosen = prepare(
        model,
        source,
        with_partners=how == "corrupt" or judged_by == "logit-diff",
        memory=memory,
        threads=threads,
        say=not (quiet or as_json),
    )
    found.check_model(loaded.identity)
    Task(chosen.prompts, how, judged_by)
    folder = None if out is None else check_output_folder(out)
    evaluation = evaluate(
        found,
        loaded,
        chosen.prompts,
        ablation=how,
        metric=judged_by,
        random_circuits=random_circuits,
        seed=seed,
        memory=memory,
    )
    text = json.dumps(evaluation.to_json(), indent=2, allow_nan=False)
    if folder is not None:
        write_atomically(folder / "evaluation.json", text + "\n")
    if as_json:
        print(text)
    elif not quiet:
        _print_table(evaluation)


def _print_table(evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    random_runs = len(evaluation.random)
    size = f"{evaluation.num_edges:,} of {evaluation.num_graph_edges:,} edges, {evaluation.num_nodes:,} nodes"
    title = f"{size}; prompts: {evaluation.num_prompts:,}; {evaluation.ablation} ablation"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in (evaluation.metric, "Hit@10", "mean rank", "P(answer)", "faithfulness"):
        table.add_column(heading, justify="right")
    full = 1.0 if evaluation.faithfulness is not None else None
    empty = 0.0 if evaluation.faithfulness is not None else None
    table.add_row("full model", *_cells((evaluation.full,), (full,)))
    table.add_row("circuit", *_cells((evaluation.circuit,), (evaluation.faithfulness,)))
    table.add_row("empty circuit", *_cells((evaluation.empty,), (empty,)))
    if random_runs:
        name = f"random circuits (mean of {random_runs})"
        table.add_row(name, *_cells(evaluation.random, evaluation.random_faithfulness))
    Console().print(table)


def _cells(runs: tuple[RunMeasures, ...], faithfulness: tuple[float | None, ...]) -> list[str]:
    known = [value for value in faithfulness if value is not None]
    return [
        f"{fmean(run.mean_metric for run in runs):.4f}",
        f"{fmean(run.hit_at_10 for run in runs):.3f}",
        f"{fmean(run.mean_rank for run in runs):,.1f}",
        f"{fmean(run.mean_probability for run in runs):.4f}",
        f"{fmean(known):.3f}" if known else "-",
    ]
