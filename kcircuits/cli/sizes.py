"""`kcircuits sizes`: compare methods over circuit sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Source
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.optional import need
from kcircuits.task import Task


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
    methods: Annotated[
        str,
        typer.Option("--methods", metavar="A,B,…", help="Methods of discover, and `random`; with commas."),
    ] = "eap,eap-ig-inputs,random",
    ablation: options.ABLATION = None,
    metric: options.METRIC = "nll",
    fractions: Annotated[
        str | None,
        typer.Option(
            "--fractions",
            metavar="X,Y,…",
            help="Sizes as shares of all edges. [default: 0.001 to 1 in ten steps, as in MIB]",
        ),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            "--thresholds",
            metavar="T,U,…",
            help="Of acdc. [default: 0.1, 0.03, 0.01 and 0.003 of what ablating everything does]",
        ),
    ] = None,
    pruning_fractions: Annotated[
        str | None,
        typer.Option(
            "--pruning-fractions",
            metavar="X,Y,…",
            help="Sizes that edge-pruning is trained for. [default: 0.001,0.005,0.02,0.1]",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", help="Training steps of edge-pruning at most, per size.")
    ] = 300,
    ig_steps: Annotated[
        int, typer.Option("--ig-steps", metavar="N", help="Steps of integrated gradients.")
    ] = 5,
    random_circuits: Annotated[
        int, typer.Option("--random-circuits", metavar="N", help="Random circuits of each size.")
    ] = 5,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", help="Of edge-pruning and random circuits.")
    ] = 0,
    reference_prompts: options.REFERENCE_PROMPTS = None,
    fold_value_biases: Annotated[
        bool, typer.Option("--fold-value-biases", help="Move value biases to where no ablation touches them.")
    ] = False,
    keep_positions: Annotated[
        bool,
        typer.Option("--keep-positions", help="Never ablate learned position embeddings, as EAP-IG does."),
    ] = False,
    dtype: options.DTYPE = "float32",
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> None:
    """Compare methods: how faithful are their circuits, at many sizes?

    Writes sizes.json and sizes.svg into DIR.
    """
    source = Source(
        prompts, relation, template, limit, shuffle_seed, top_k, prompt, answer, corrupt, wrong, first_token,
        half=half, split_seed=split_seed,
    )  # fmt: skip
    from kcircuits.cli.progress import shown_progress
    from kcircuits.cli.setup import prepare, read_reference
    from kcircuits.cli.sizes_table import print_table
    from kcircuits.files.writing import check_output_folder, write_together
    from kcircuits.sizes import SizeOptions, check_methods, compare_sizes, named_methods
    from kcircuits.sizes.size_plot import draw_sizes

    need("matplotlib", "pictures")
    sizes = {"fractions": fractions, "thresholds": thresholds, "pruning_fractions": pruning_fractions}
    given = {name: _numbers(name, text) for name, text in sizes.items() if text is not None}
    chosen_options = SizeOptions(**given)
    of_methods = {"steps": steps, "ig_steps": ig_steps, "random_circuits": random_circuits, "seed": seed}
    compared = named_methods([name.strip() for name in methods.split(",") if name.strip()], of_methods)
    loaded, chosen = prepare(
        model,
        source,
        with_partners=options.with_partners(ablation, metric),
        memory=memory,
        threads=threads,
        dtype=dtype,
        say=not (quiet or as_json),
    )
    reference = read_reference(reference_prompts, ablation, loaded)
    task = Task(
        chosen.prompts,
        ablation,  # type: ignore[arg-type]  # None is resolved by the task
        metric,
        reference,
        fold_value_biases=fold_value_biases,
        keep_positions=keep_positions,
    )
    check_methods(compared, loaded.spec, task)
    folder = check_output_folder(out)

    with shown_progress(not (quiet or as_json)) as progress:
        comparison = compare_sizes(
            loaded,
            task,
            compared,
            options=chosen_options,
            memory=memory,
            progress=progress,
        )
    recorded = source.half_settings | {
        **of_methods,
        "input": source.given(
            model, reference_prompts=reference_prompts, dtype=None if dtype == "float32" else dtype
        ),
    }
    comparison = replace(comparison, settings=comparison.settings | recorded)
    written = [folder / "sizes.json", folder / "sizes.svg"]
    with write_together():
        comparison.save(written[0])
        draw_sizes(comparison, written[1])
    if as_json:
        print(json.dumps(comparison.to_json(), indent=2, allow_nan=False))
    elif not quiet:
        print_table(comparison)
        print(f"written: {', '.join(map(str, written))}")


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise KCircuitsError(
            f"--{name.replace('_', '-')} must be numbers with commas between them, got {text!r}"
        ) from None
