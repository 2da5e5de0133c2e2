"""`kcircuits evaluate`: measure a circuit beside the full model and random circuits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Source
from kcircuits.data.metrics import Metric
from kcircuits.errors import KCircuitsError
from kcircuits.task import Ablation

if TYPE_CHECKING:
    from kcircuits.cli.measured import Measured


def command(
    model: options.MODEL,
    circuit: Annotated[
        str | None,
        typer.Option("--circuit", metavar="FILE", help="A circuit.json; may be left out with --scores."),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option("--scores", metavar="FILE", help="Scores of all edges: adds a curve over sizes."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="FILE", help="A circuit.json that is taken for true: adds AUC."),
    ] = None,
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
    halves: Annotated[
        bool, typer.Option("--halves", help="Measure on all prompts, and show both halves.")
    ] = False,
    split_seed: options.SPLIT_SEED = None,
    ablation: Annotated[
        Ablation | None, typer.Option("--ablation", help="[default: that of the circuit]")
    ] = None,
    metric: Annotated[Metric | None, typer.Option("--metric", help="[default: that of the circuit]")] = None,
    reference_prompts: options.REFERENCE_PROMPTS = None,
    hit_k: Annotated[
        int, typer.Option("--hit-k", min=1, metavar="K", help="Among how many tokens an answer is a hit.")
    ] = 10,
    random_circuits: Annotated[
        int,
        typer.Option("--random", min=0, metavar="N", help="Compare with N random circuits of the same size."),
    ] = 10,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="S", help="Of random circuits and resampling.")
    ] = 0,
    minimality: Annotated[
        bool, typer.Option("--minimality", help="Remove each edge in turn, of many edges a sample of 500.")
    ] = False,
    signed: Annotated[
        bool, typer.Option("--signed", help="Select by the scores themselves, not their absolute values.")
    ] = False,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Select by scores from the logits backwards.")
    ] = False,
    device_map: options.DEVICE_MAP = None,
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Write evaluation.json there.")
    ] = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> None:
    """Measure a circuit: how well it answers, how faithful, complete and minimal it is."""
    source = Source(
        prompts, relation, template, limit, shuffle_seed, top_k, prompt, answer, corrupt, wrong, first_token,
        half=half, halves=halves, split_seed=split_seed,
    )  # fmt: skip
    _check_what(circuit, scores, minimality=minimality, signed=signed, greedy=greedy)
    from kcircuits.cli.evaluation_table import print_tables
    from kcircuits.cli.measured import Wanted, load_circuit, load_scores, measure
    from kcircuits.cli.setup import prepare, read_reference
    from kcircuits.data.halves import half_indices
    from kcircuits.files.writing import check_output_folder, write_atomically

    found = None if circuit is None else load_circuit(circuit)
    ranked = None if scores is None else load_scores(scores)
    settings = {**(ranked.settings if ranked else {}), **(found.settings if found else {})}
    wanted = Wanted(
        circuit=found,
        scores=ranked,
        reference=None if reference is None else load_circuit(reference),
        ablation=ablation or settings.get("ablation", "zero"),
        metric=metric or settings.get("metric", "nll"),
        random_circuits=random_circuits,
        seed=seed,
        hit_k=hit_k,
        minimality=minimality,
        absolute=not signed,
        greedy=greedy,
        memory=memory,
    )
    source = source.split_as(settings)
    loaded, chosen = prepare(
        model,
        source,
        with_partners=wanted.ablation == "corrupt" or wanted.metric == "logit-diff",
        memory=memory,
        threads=threads,
        device_map=device_map,
        say=not (quiet or as_json),
    )
    wanted.check_model(loaded.identity)
    wanted = replace(wanted, reference_prompts=read_reference(reference_prompts, wanted.ablation, loaded))
    wanted.task(chosen.prompts)
    halved = half_indices(len(chosen.prompts), source.seed_of_halves) if halves else None
    folder = None if out is None else check_output_folder(out)

    measured = measure(wanted, loaded, chosen.prompts)
    given = source.given(
        model,
        scores=scores,
        reference=reference,
        reference_prompts=reference_prompts,
        signed=signed,
        greedy=greedy,
    )
    document = measured.to_json() | source.half_settings | {"input": given}
    parts: dict[str, Measured] = {}
    if halved is not None:
        parts = {"validation": measured.on(halved[0]), "test": measured.on(halved[1])}
        document["split_seed"] = source.seed_of_halves
        document["halves"] = {name: part.to_json() for name, part in parts.items()}
    text = json.dumps(document, indent=2, allow_nan=False)
    if folder is not None:
        write_atomically(folder / "evaluation.json", text + "\n")
    if as_json:
        print(text)
    elif not quiet:
        print_tables(measured, parts)


def _check_what(
    circuit: str | None, scores: str | None, *, minimality: bool, signed: bool, greedy: bool
) -> None:
    if circuit is None and scores is None:
        raise KCircuitsError("nothing to measure: give '--circuit', '--scores' or both")
    if minimality and circuit is None:
        raise KCircuitsError("--minimality needs --circuit")
    if (signed or greedy) and scores is None:
        raise KCircuitsError(f"--{'signed' if signed else 'greedy'} is for --scores alone")
