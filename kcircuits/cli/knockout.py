"""`kcircuits knockout`: what a model forgets without a circuit, and what else breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kcircuits.cli.prompts import Source, choose
from kcircuits.cli.readings import Asked, Loaded, reads
from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from kcircuits.analysis.knockout.results import Knockout
    from kcircuits.data.prompts import Prompt


@reads
def command(
    asked: Asked,
    *,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--other",
            metavar="F.json|NAME|F.jsonl|F.csv",
            help="Another relation, or prompts, on which it is measured, too; as often as needed.",
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="FILE", help="A text whose perplexity is measured, too.")
    ] = None,
    text_tokens: Annotated[
        int, typer.Option("--text-tokens", min=1, metavar="N", help="Use the text's first N tokens.")
    ] = 2048,
    private_of: Annotated[
        list[str] | None,
        typer.Option(
            "--private-of",
            metavar="FILE",
            help="Remove only edges that this circuit.json does not have; as often as needed.",
        ),
    ] = None,
    random_circuits: Annotated[
        int, typer.Option("--random", min=0, metavar="N", help="Compare with N random circuits.")
    ] = 5,
    hit_k: Annotated[
        int, typer.Option("--hit-k", min=1, metavar="K", help="Among how many tokens an answer is a hit.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="Of the random circuits.")] = 0,
) -> None:
    """Remove a circuit's edges from the model: what is forgotten, and what else breaks?"""
    if asked.circuit is None:
        raise KCircuitsError("there is nothing to knock out: give --circuit")
    from kcircuits.cli.measured import load_circuit
    from kcircuits.files.documents import prefix_errors, read_text

    with prefix_errors(text):
        content = None if text is None else read_text(text, "text", pipe=True)
    private = [load_circuit(path) for path in private_of or ()]
    loaded = replace(asked, out=None).load()
    others = _others(asked, loaded, other or ())
    folder = asked.make_folder()
    assert loaded.circuit is not None
    from kcircuits.analysis.knockout.plot import draw_knockout
    from kcircuits.analysis.knockout.reading import knockout
    from kcircuits.analysis.knockout.text_windows import RunningText

    found = knockout(
        loaded.model,
        loaded.task,
        loaded.circuit,
        others=others,
        text=None if content is None else RunningText(content, text_tokens),
        private_of=private,
        random_circuits=random_circuits,
        seed=seed,
        hit_k=hit_k,
        memory=asked.memory,
    )
    recorded = asked.recorded(found, other=other or None, text=text, private_of=private_of or None)
    asked.finish("knockout", recorded, folder, draw_knockout, _show)


def _others(asked: Asked, loaded: Loaded, names: Sequence[str]) -> dict[str, tuple[Prompt, ...]]:
    """Prompts by the names of their files; relations are limited as the circuit's own is."""
    own = asked.source
    found: dict[str, tuple[Prompt, ...]] = {}
    for name in names:
        is_prompts = name.endswith((".jsonl", ".csv"))
        source = Source(
            prompts=name if is_prompts else None,
            relation=None if is_prompts else name,
            template=None,
            limit=None if is_prompts else own.limit,
            shuffle_seed=None if is_prompts else own.shuffle_seed,
            top_k=None if is_prompts else own.top_k,
            prompt=None,
            answer=None,
            corrupt=None,
            wrong=None,
            first_token=own.first_token,
        )
        short = Path(name).stem
        if short in found:
            raise KCircuitsError(f"two of --other are called {short!r}")
        corrupt = loaded.task.ablation == "corrupt"
        chosen = choose(source, loaded.model, with_partners=corrupt, memory=asked.memory)
        found[short] = chosen.prompts
    return found


def _show(found: Knockout) -> None:
    from kcircuits.cli.console import print_rows
    from kcircuits.display.text import printable

    settings, hit_k = found.settings, found.settings["hit_k"]
    measures = {
        f"Hit@{hit_k}": ("hit_at_k", ".3f"),
        "mean rank": ("mean_rank", ",.1f"),
        "P(answer)": ("probability", ".4f"),
        "NLL": ("metric", ".3f"),
    }
    rows = []
    for effect in found.effects:
        name = f"{printable(effect.name, 24)} ({len(effect.full.metric):,})"
        runs = [run.means(hit_k) for run in (effect.full, effect.knockout, *effect.random)]
        for label, (measure, form) in measures.items():
            rows.append([name, label, *_cells([run[measure] for run in runs], f"{{:{form}}}".format)])
            name = ""
    if found.text is not None:
        name = f"text ({found.text.num_tokens:,} tokens)"
        values = [found.text.full, found.text.knockout, *found.text.random]
        rows.append([name, "perplexity", *_cells(values, _perplexity)])
    count = len(found.effects[0].random)
    head = ["prompts", "", "full model", "without it"]
    head += [f"without {count} random circuits" if count > 1 else "without a random circuit"] * bool(count)
    removed, of = settings["num_removed_edges"], settings["num_circuit_edges"]
    title = f"{removed:,} of the circuit's {of:,} edges removed; {settings['ablation']} ablation"
    print_rows(title, head, rows)


def _cells(values: list[float], shown: Callable[[float], str]) -> list[str]:
    """The full model's value, that without the circuit, and those without random ones: mean and range."""
    full, without, *random = values
    cells = [shown(full), shown(without)]
    if random:
        mean, low, high = map(shown, (sum(random) / len(random), min(random), max(random)))
        cells.append(f"{mean} [{low}, {high}]" if len(random) > 1 else mean)
    return cells


def _perplexity(value: float) -> str:
    return f"{value:,.2f}" if value < 1e5 else f"{value:.1e}"
