"""`kcircuits discover`: find a circuit and write it down."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Chosen, Source
from kcircuits.metrics import Metric
from kcircuits.task import Ablation, Task

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit

Method = Literal["acdc"]


def command(
    model: options.MODEL,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the results go.")],
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
    half: options.HALF = None,
    split_seed: options.SPLIT_SEED = None,
    method: Annotated[Method, typer.Option("--method", help="How to search.")] = "acdc",
    ablation: Annotated[Ablation, typer.Option("--ablation", help="What an absent edge carries.")] = "zero",
    metric: Annotated[Metric, typer.Option("--metric", help="What may not get worse.")] = "nll",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="T", help="Remove edges whose effect on the metric is less."),
    ] = None,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Keep edges that make the metric better, too.")
    ] = False,
    fold_value_biases: Annotated[
        bool, typer.Option("--fold-value-biases", help="Move value biases to where no ablation touches them.")
    ] = False,
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> None:
    """Find the circuit of a model for one or more prompts.

    Writes circuit.json, circuit.dot and, where graphviz is installed, circuit.svg into DIR.
    """
    source = Source(
        prompts, relation, template, limit, shuffle_seed, top_k, prompt, answer, corrupt, wrong, first_token,
        half=half, split_seed=split_seed,
    )  # fmt: skip
    from kcircuits.cli.progress import shown_progress
    from kcircuits.cli.results import drawable, write_circuit
    from kcircuits.cli.setup import prepare
    from kcircuits.discover import discover, method_of
    from kcircuits.files import check_output_folder

    given = {"threshold": threshold, "absolute": absolute}
    chosen_options = {name: value for name, value in given.items() if value is not None}
    method_of(method, chosen_options)
    loaded, chosen = prepare(
        model,
        source,
        with_partners=ablation == "corrupt" or metric == "logit-diff",
        memory=memory,
        threads=threads,
        say=not (quiet or as_json),
    )
    Task(chosen.prompts, ablation, metric)
    folder = check_output_folder(out)
    with_picture = drawable()

    with shown_progress(not (quiet or as_json)) as progress:
        circuit = discover(
            loaded,
            chosen.prompts,
            method,
            ablation=ablation,
            metric=metric,
            fold_value_biases=fold_value_biases,
            memory=memory,
            progress=progress,
            **chosen_options,
        )
    circuit = replace(circuit, settings=circuit.settings | source.half_settings)
    written = write_circuit(circuit, folder, with_picture)
    if as_json:
        json.dump(_summary(circuit, chosen, written), sys.stdout, indent=2)
        print()
    elif not quiet:
        print(_sentence(circuit, written))


def _summary(circuit: Circuit, chosen: Chosen, written: list[Path]) -> dict[str, Any]:
    return {
        "files": [str(path) for path in written],
        "prompts": {"used": len(chosen.prompts), "dropped": chosen.dropped},
        "num_edges": len(circuit.edges),
        "num_graph_edges": circuit.graph.num_edges,
        "num_nodes": len(circuit.nodes),
        "settings": circuit.settings,
        "metric": circuit.metric,
        "stats": circuit.stats,
    }


def _sentence(circuit: Circuit, written: list[Path]) -> str:
    name = circuit.settings["metric"]
    values = ", ".join(f"{run} {value:.4f}" for run, value in circuit.metric.items())
    return (
        f"{len(circuit.edges):,} of {circuit.graph.num_edges:,} edges, {len(circuit.nodes):,} nodes; "
        f"{name}: {values}\n"
        f"{circuit.stats['tests']:,} tests in {circuit.stats['seconds']:.1f} s\n"
        f"written: {', '.join(map(str, written))}"
    )
