"""`kcircuits discover`: find a circuit and write it down."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Chosen, Source
from kcircuits.discovery.methods import METHODS
from kcircuits.errors import KCircuitsError
from kcircuits.task import Task

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit

if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(METHODS)]
Level = Literal["edge", "node"]


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
    ablation: options.ABLATION = None,
    metric: options.METRIC = "nll",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="T",
            help="Keep edges of at least this effect (acdc) or score.",
        ),
    ] = None,
    top_n: Annotated[
        int | None,
        typer.Option(
            "--top-n", metavar="N", help="Keep the N best edges; dead ends are pruned. Not for acdc."
        ),
    ] = None,
    absolute: Annotated[
        bool | None,
        typer.Option(
            "--absolute/--signed",
            help="Whether edges count that make the metric better. [default: signed for acdc, else absolute]",
            show_default=False,
        ),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Select from the logits backwards, with --top-n.")
    ] = False,
    level: Annotated[
        Level | None, typer.Option("--level", help="Select edges, or nodes with all edges. [default: edge]")
    ] = None,
    ig_steps: Annotated[
        int | None,
        typer.Option("--ig-steps", metavar="N", help="Steps of integrated gradients. [default: 5]"),
    ] = None,
    qk_fix: Annotated[
        bool,
        typer.Option("--qk-fix", help="Score queries and keys through the softmax itself, as AtP* does."),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="Training steps of edge-pruning at most. [default: 300]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="Of edge-pruning. [default: 0]")
    ] = None,
    reference_prompts: options.REFERENCE_PROMPTS = None,
    fold_value_biases: Annotated[
        bool, typer.Option("--fold-value-biases", help="Move value biases to where no ablation touches them.")
    ] = False,
    keep_positions: Annotated[
        bool,
        typer.Option("--keep-positions", help="Never ablate learned position embeddings, as EAP-IG does."),
    ] = False,
    scores: Annotated[
        str | None,
        typer.Option("--scores", metavar="FILE", help="Write the scores of all edges, as .safetensors."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Keep the state of a search with acdc here, go on from it if it is there, and remove it in "
            "the end.",
        ),
    ] = None,
    senders: options.SENDERS = None,
    dtype: options.DTYPE = "float32",
    device_map: options.DEVICE_MAP = None,
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print where the time went, by op and by layer; on the CPU.")
    ] = False,
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
    from kcircuits.cli.setup import prepare, read_reference
    from kcircuits.discovery import discover, method_and_selection
    from kcircuits.discovery.run import check_experiment
    from kcircuits.engine.profile import profile_call
    from kcircuits.files.writing import check_output_file, check_output_folder, write_together
    from kcircuits.model.devices import devices_of

    given = {
        "threshold": threshold,
        "top_n": top_n,
        "absolute": absolute,
        "greedy": greedy or None,
        "level": level,
        "ig_steps": ig_steps,
        "qk_fix": qk_fix or None,
        "steps": steps,
        "seed": seed,
        "senders": senders,
    }
    chosen_options = {name: value for name, value in given.items() if value is not None}
    made, selection = method_and_selection(method, chosen_options)
    if scores is not None and not made.writes_scores:
        raise KCircuitsError(f"{method} does not score all edges: --scores is for the other methods")
    if checkpoint is not None and not made.resumes:
        able = ", ".join(name for name, each in METHODS.items() if each.resumes)
        raise KCircuitsError(f"--checkpoint is for {able} alone, got {method}")
    loaded, chosen = prepare(
        model,
        source,
        with_partners=options.with_partners(ablation, metric),
        memory=memory,
        threads=threads,
        dtype=dtype,
        device_map=device_map,
        say=not (quiet or as_json),
    )
    if profile and any(device.type != "cpu" for device in devices_of(loaded.spec)):
        raise KCircuitsError("--profile is for models on the CPU: other devices work on behind a call")
    reference = read_reference(reference_prompts, ablation, loaded)
    task = Task(
        chosen.prompts,
        ablation,  # type: ignore[arg-type]  # None is resolved by the task
        metric,
        reference,
        fold_value_biases=fold_value_biases,
        keep_positions=keep_positions,
    )
    check_experiment(loaded, task, made)
    folder = check_output_folder(out)
    if scores is not None:
        check_output_folder(Path(scores).parent)
        check_output_file(scores)
    if checkpoint is not None:
        check_output_folder(Path(checkpoint).parent)
    with_picture = drawable()

    # The scores are written by the search, and come into place with the circuit.
    with write_together():
        with shown_progress(not (quiet or as_json)) as progress:
            search = partial(
                discover,
                loaded,
                task,
                made,
                selection,
                memory=memory,
                progress=progress,
                scores=scores,
                checkpoint=checkpoint,
            )
            circuit, where = profile_call(search) if profile else (search(), None)
        given_input = source.given(
            model, reference_prompts=reference_prompts, dtype=None if dtype == "float32" else dtype
        )
        recorded = source.half_settings | {"input": given_input}
        circuit = replace(circuit, settings=circuit.settings | recorded)
        written = write_circuit(circuit, folder, with_picture) + ([Path(scores)] if scores else [])
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    if as_json:
        summary = _summary(circuit, chosen, written)
        json.dump(summary | ({"profile": where.to_json()} if where else {}), sys.stdout, indent=2)
        print()
    elif not quiet:
        print(_sentence(circuit, written))
    if where is not None and not as_json:
        from kcircuits.cli.profile_table import print_profile

        print_profile(where)


def _cost(stats: dict[str, Any]) -> str:
    counted = next((f"{stats[name]:,} {name} in " for name in ("tests", "steps") if name in stats), "")
    return f"{counted}{stats['seconds']:.1f} s"


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
        f"{_cost(circuit.stats)}\n"
        f"written: {', '.join(map(str, written))}"
    )
