"""`kcircuits discover`: find a circuit and write it down."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.cli.method_options import MethodOptions
from kcircuits.cli.options import FolderOutput, ModelOptions, Running, TaskChoice
from kcircuits.discovery.methods import METHODS
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import option
from kcircuits.task import PromptChoice

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit
    from kcircuits.discovery.method import Method
    from kcircuits.model.loading import Model
    from kcircuits.task.prompt_choice import ChosenPrompts


@dataclass(frozen=True)
class SearchRun(Running):
    """How a search runs."""

    checkpoint: str | None = option(
        None,
        help="File for the state of an acdc search: an interrupted search continues from it, a finished one "
        "removes it.",
        metavar="FILE",
    )
    profile: bool = option(False, help="Print the run time by op and by layer; on the CPU only.")

    def check(self, method: Method) -> None:
        """Raise KCircuitsError if the method cannot use the checkpoint."""
        if self.checkpoint is not None and not method.resumes:
            able = ", ".join(name for name, each in METHODS.items() if each.resumes)
            raise KCircuitsError(f"--checkpoint is for {able} alone, got {method.name}")

    def check_device(self, model: Model) -> None:
        """Raise KCircuitsError if the model is not where times can be measured."""
        from kcircuits.model.devices import devices_of

        if self.profile and any(device.type != "cpu" for device in devices_of(model.spec)):
            raise KCircuitsError("--profile is for models on the CPU: other devices work on behind a call")


@dataclass(frozen=True)
class SearchOutput(FolderOutput):
    """The circuit's folder, and the file of all scores."""

    scores: str | None = option(
        None, help="File for the scores of all edges, as .safetensors.", metavar="FILE"
    )

    def check(self, method: Method) -> None:
        """Raise KCircuitsError if the method has no scores to write."""
        if self.scores is not None and not method.writes_scores:
            raise KCircuitsError(f"{method.name} does not score all edges: --scores is for the other methods")


def command(
    model: ModelOptions,
    prompts: PromptChoice,
    task: TaskChoice,
    method: MethodOptions,
    run: SearchRun,
    output: SearchOutput,
) -> None:
    """Find the circuit of a model for one or more prompts.

    Writes circuit.json, circuit.dot and, where graphviz is installed, circuit.svg into DIR.
    """
    from kcircuits.cli.results import drawable, write_circuit
    from kcircuits.cli.setup import input_settings, prepare
    from kcircuits.discovery import discover
    from kcircuits.discovery.run import check_experiment
    from kcircuits.display.progress import show_progress
    from kcircuits.engine.profile import profile_call
    from kcircuits.files.writing import write_together

    output.check(method.method)
    run.check(method.method)
    asked = prepare(model, prompts, task, run, verbose=output.shows_progress)
    run.check_device(asked.model)
    check_experiment(asked.model, asked.task, method.method)
    folder = _check_files(output, run)
    with_picture = drawable()

    # The scores are written by the search, and come into place with the circuit.
    with write_together():
        with show_progress(output.shows_progress) as progress:
            search = partial(
                discover,
                asked.model,
                asked.task,
                method.method,
                method.selection,
                memory=run.memory,
                progress=progress,
                scores=output.scores,
                checkpoint=run.checkpoint,
            )
            circuit, where = profile_call(search) if run.profile else (search(), None)
        circuit = replace(
            circuit,
            settings=circuit.settings
            | input_settings(model, prompts, reference_prompts=task.reference_prompts),
        )
        written = write_circuit(circuit, folder, with_picture)
        written += [Path(output.scores)] if output.scores else []
    if run.checkpoint is not None:
        Path(run.checkpoint).unlink(missing_ok=True)
    if output.as_json:
        summary = _summary(circuit, asked.chosen, written)
        json.dump(summary | ({"profile": where.to_json()} if where else {}), sys.stdout, indent=2)
        print()
    elif not output.quiet:
        print(_sentence(circuit, written))
    if where is not None and not output.as_json:
        from kcircuits.cli.profile_table import print_profile

        print_profile(where)


def _check_files(output: SearchOutput, run: SearchRun) -> Path:
    """Make the folders of all files, and make sure that these can be written."""
    from kcircuits.files.writing import check_output_file, check_output_folder

    folder = check_output_folder(output.out)
    if output.scores is not None:
        check_output_folder(Path(output.scores).parent)
        check_output_file(output.scores)
    if run.checkpoint is not None:
        check_output_folder(Path(run.checkpoint).parent)
    return folder


def _cost(stats: dict[str, Any]) -> str:
    counted = next((f"{stats[name]:,} {name} in " for name in ("tests", "steps") if name in stats), "")
    return f"{counted}{stats['seconds']:.1f} s"


def _summary(circuit: Circuit, chosen: ChosenPrompts, written: list[Path]) -> dict[str, Any]:
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
    from kcircuits.discovery.defaults import explain_derived

    name = circuit.settings["metric"]
    values = ", ".join(f"{run} {value:.4f}" for run, value in circuit.metric.items())
    derived = "".join(f"{line}\n" for line in explain_derived(circuit.settings))
    return (
        f"{len(circuit.edges):,} of {circuit.graph.num_edges:,} edges, {len(circuit.nodes):,} nodes; "
        f"{name}: {values}\n"
        f"{derived}{_cost(circuit.stats)}\n"
        f"written: {', '.join(map(str, written))}"
    )
