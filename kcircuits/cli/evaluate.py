"""`kcircuits evaluate`: measure a circuit beside the full model and random circuits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kcircuits.cli.options import CircuitChoice, ModelOptions, Output, Running, TaskOverrides
from kcircuits.data.metrics import RANDOM_CIRCUITS
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.runtime.option_fields import OptionError, Options, option
from kcircuits.scores.selection_options import Selection
from kcircuits.task import PromptChoice

if TYPE_CHECKING:
    from kcircuits.cli.measured import Measured


@dataclass(frozen=True)
class MeasuredFiles(Options):
    """What is measured."""

    title: ClassVar[str] = "Circuit"

    circuit: str | None = option(None, like=(CircuitChoice, "circuit"), default_text="none, with --scores")
    scores: str | None = option(
        None, help="Scores of all edges, for a curve of faithfulness over circuit sizes.", metavar="FILE"
    )
    reference: str | None = option(
        None, help="A circuit.json that counts as the truth, for the area under the ROC.", metavar="FILE"
    )
    signed: bool = option(False, help="Select by signed scores, not by their absolute values.")
    greedy: bool = option(False, like=(Selection, "greedy"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.circuit is None and self.scores is None:
            raise OptionError("nothing to measure: give `circuit`, `scores` or both")
        for name in ("signed", "greedy"):
            if getattr(self, name) and self.scores is None:
                raise OptionError(f"`{name}` is for `scores` alone", name)


@dataclass(frozen=True)
class EvaluationPrompts(PromptChoice):
    """Prompts, all of which can be measured and shown by halves."""

    halves: bool = option(False, help="Measure on all prompts, and show both halves.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.half is not None and self.halves:
            raise OptionError("`halves` measures both halves; leave `half` out", "halves")

    @property
    def uses_halves(self) -> bool:
        """Whether the prompts are split."""
        return self.half is not None or self.halves


@dataclass(frozen=True)
class Measures(Options):
    """How it is measured."""

    title: ClassVar[str] = "Evaluation"

    hit_k: int = option(10, help="An answer among the K most probable tokens is a hit.", metavar="K", least=1)
    random_circuits: int = option(
        RANDOM_CIRCUITS,
        help="Number of random circuits of the same size to compare with.",
        metavar="N",
        name="random",
        least=0,
    )
    seed: int = option(0, like=(EdgePruning, "seed"), least=0)
    minimality: bool = option(
        False, help="Remove each edge in turn; of a circuit with many edges a sample of 500."
    )


def command(
    model: ModelOptions,
    files: MeasuredFiles,
    prompts: EvaluationPrompts,
    task: TaskOverrides,
    measures: Measures,
    run: Running,
    output: Output,
) -> None:
    """Measure a circuit: how well it answers, and its faithfulness, completeness and minimality."""
    from kcircuits.cli.evaluation_table import print_tables
    from kcircuits.cli.measured import measure, read_wanted
    from kcircuits.cli.setup import choose_prompts, input_settings, load
    from kcircuits.data.halves import half_indices
    from kcircuits.files.writing import check_output_folder, write_atomically

    wanted = read_wanted(files, task, measures, run)
    prompts = prompts.split_as(wanted.settings)
    loaded = load(model, run)
    wanted.check_model(loaded.identity)
    chosen = choose_prompts(
        loaded, prompts, run, with_partners=wanted.options.needs_partners, verbose=output.shows_progress
    )
    asked = wanted.task(loaded, chosen.prompts)
    halved = half_indices(len(chosen.prompts), prompts.seed_of_halves) if prompts.halves else None
    folder = None if output.out is None else check_output_folder(output.out)

    measured = measure(wanted, loaded, asked)
    document = measured.to_json() | input_settings(
        model,
        prompts,
        scores=files.scores,
        reference=files.reference,
        reference_prompts=task.reference_prompts,
        signed=files.signed,
        greedy=files.greedy,
    )
    parts: dict[str, Measured] = {}
    if halved is not None:
        parts = {"validation": measured.on(halved[0]), "test": measured.on(halved[1])}
        document["split_seed"] = prompts.seed_of_halves
        document["halves"] = {name: part.to_json() for name, part in parts.items()}
    text = json.dumps(document, indent=2, allow_nan=False)
    if folder is not None:
        write_atomically(folder / "evaluation.json", text + "\n")
    if output.as_json:
        print(text)
    elif not output.quiet:
        print_tables(measured, parts)
