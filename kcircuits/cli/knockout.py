"""`kcircuits knockout`: what a model forgets without a circuit, and what else breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from kcircuits.cli.evaluate import Measures
from kcircuits.cli.readings import CircuitReadingOptions, ReadingInput, ReadingOptions
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import Options, option
from kcircuits.task import PromptChoice

if TYPE_CHECKING:
    from kcircuits.analysis.knockout.results import Knockout
    from kcircuits.data.prompts import Prompt


@dataclass(frozen=True)
class KnockoutOptions(Options):
    """What is removed and what is measured."""

    title: ClassVar[str] = "Knockout"

    other: list[str] | None = option(
        None,
        help="Another relation, or other prompts, to measure as well; may be repeated.",
        metavar="F.json|NAME|F.jsonl|F.csv",
    )
    text: str | None = option(None, help="A text whose perplexity is measured as well.", metavar="FILE")
    text_tokens: int = option(2048, help="Use only the text's first N tokens.", metavar="N", least=1)
    private_of: list[str] | None = option(
        None,
        help="Remove only edges that this circuit.json does not have; may be repeated.",
        metavar="FILE",
    )
    random_circuits: int = option(5, like=(Measures, "random"))
    hit_k: int = option(10, like=(Measures, "hit_k"))
    seed: int = option(0, like=(EdgePruning, "seed"), least=0)


def command(asked: CircuitReadingOptions, options: KnockoutOptions) -> None:
    """Remove a circuit's edges from the model, and measure what it forgets and what else breaks."""
    if asked.circuit.circuit is None:
        raise KCircuitsError("there is nothing to knock out: give --circuit")
    from kcircuits.cli.measured import load_circuit
    from kcircuits.files.documents import prefix_errors, read_text

    with prefix_errors(options.text):
        content = None if options.text is None else read_text(options.text, "text", pipe=True)
    private = [load_circuit(path) for path in options.private_of or ()]
    loaded = asked.load()
    others = _choose_others(asked, loaded, options.other or ())
    assert loaded.circuit is not None
    from kcircuits.analysis.knockout.plot import draw_knockout
    from kcircuits.analysis.knockout.reading import knockout
    from kcircuits.analysis.knockout.text_windows import RunningText

    found = knockout(
        loaded.model,
        loaded.task,
        loaded.circuit,
        others=others,
        text=None if content is None else RunningText(content, options.text_tokens),
        private_of=private,
        random_circuits=options.random_circuits,
        seed=options.seed,
        hit_k=options.hit_k,
        memory=asked.run.memory,
    )
    recorded = asked.with_input(
        found, loaded, other=options.other, text=options.text, private_of=options.private_of
    )
    asked.output.finish("knockout", recorded, loaded.folder, draw_knockout, _show)


def _choose_others(
    asked: ReadingOptions, loaded: ReadingInput, names: Sequence[str]
) -> dict[str, tuple[Prompt, ...]]:
    """Prompts by the names of their files; relations are limited as the circuit's own is."""
    from kcircuits.cli.setup import choose_prompts

    own = asked.prompts
    found: dict[str, tuple[Prompt, ...]] = {}
    for name in names:
        if name.endswith((".jsonl", ".csv")):
            choice = PromptChoice(prompts=name, first_token=own.first_token)
        else:
            choice = PromptChoice(
                relation=name,
                limit=own.limit,
                shuffle_seed=own.shuffle_seed,
                top_k=own.top_k,
                first_token=own.first_token,
            )
        short = Path(name).stem
        if short in found:
            raise KCircuitsError(f"two of --other are called {short!r}")
        corrupt = loaded.task.ablation == "corrupt"
        chosen = choose_prompts(loaded.model, choice, asked.run, with_partners=corrupt, verbose=False)
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
