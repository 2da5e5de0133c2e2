"""The groups of options of all commands that read a model's runs, and how these become a model and a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kcircuits.cli.options import (
    AblationOverride,
    CircuitChoice,
    ModelSource,
    PictureOutput,
    Running,
    TaskChoice,
)
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.optional import need
from kcircuits.task import PromptChoice, Task

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit
    from kcircuits.model.loading import Model

R = TypeVar("R", bound=Any)


@dataclass(frozen=True)
class ReadingInput:
    """The model, the task and the circuit that were asked for, and the folder for the results.

    `prompts` say how they were chosen, with the halves of the circuit.
    """

    model: Model
    task: Task
    circuit: Circuit | None
    folder: Path | None
    prompts: PromptChoice


@dataclass(frozen=True)
class ReadingOutput(PictureOutput):
    """Where a reading is written and printed."""

    def make_folder(self) -> Path | None:
        """The folder for the results, made where it is missing; None where none is wanted."""
        from kcircuits.files.writing import check_output_folder

        return None if self.out is None else check_output_folder(self.out)

    def check_pictures(self) -> None:
        """Raise KCircuitsError if pictures are wanted and cannot be drawn: before the work, not after it."""
        if self.out is not None:
            need("matplotlib", "pictures")

    def finish(
        self,
        name: str,
        reading: Any,
        folder: Path | None,
        draw: Callable[[Any, Path], None],
        show: Callable[[Any], None],
    ) -> None:
        """Write NAME.json and its picture into the folder, if there is one, and print the reading."""
        from kcircuits.files.writing import write_together

        written: list[Path] = []
        if folder is not None:
            written = [folder / f"{name}.json", folder / f"{name}.{self.picture}"]
            with write_together():
                reading.save(written[0])
                draw(reading, written[1])
        if self.as_json:
            print(json.dumps(reading.to_json(), indent=1, allow_nan=False))
        elif not self.quiet:
            show(reading)
            if written:
                print(f"written: {', '.join(map(str, written))}")


@dataclass(frozen=True)
class ReadingOptions:
    """What all readings of prompts are asked for."""

    model: ModelSource
    prompts: PromptChoice
    run: Running
    output: ReadingOutput

    def load(self) -> ReadingInput:
        """Load and check all of it; the folder for the results is there afterwards."""
        return self._load(TaskChoice(ablation="zero"))

    def with_input(self, reading: R, loaded: ReadingInput, **more: Any) -> R:
        """A reading whose settings say which options it was made with."""
        from kcircuits.cli.setup import input_settings

        settings = input_settings(self.model, loaded.prompts, **more)
        return replace(reading, settings=reading.settings | settings)

    def _load(self, options: TaskChoice, circuit: Circuit | None = None) -> ReadingInput:
        from kcircuits.cli.setup import choose_prompts, load, read_reference

        self.output.check_pictures()
        model = load(self.model, self.run)
        if circuit is not None:
            circuit.check_model(model.identity)
        prompts = self.prompts.split_as({} if circuit is None else circuit.settings)
        chosen = choose_prompts(
            model,
            prompts,
            self.run,
            with_partners=options.needs_partners,
            verbose=self.output.shows_progress,
        )
        reference = read_reference(options.reference_prompts, model)
        if circuit is None:
            task = Task.of(options, chosen.prompts, reference)
        else:
            task = Task.as_found(
                circuit,
                chosen.prompts,
                ablation=options.ablation,
                metric=options.metric,
                reference=reference,
            )
        return ReadingInput(model, task, circuit, self.output.make_folder(), prompts)


@dataclass(frozen=True)
class CircuitReadingOptions(ReadingOptions):
    """What readings are asked for that take a circuit, too."""

    circuit: CircuitChoice
    override: AblationOverride

    def load(self, *, ablates: bool = False) -> ReadingInput:
        """As `ReadingOptions.load`; `ablates`: the command has something to ablate without a circuit."""
        from kcircuits.cli.measured import load_circuit

        path, ablation = self.circuit.circuit, self.override.ablation
        if path is None and ablation is not None and not ablates:
            raise KCircuitsError("--ablation is of a circuit's absent edges: give --circuit, too")
        circuit = None if path is None else load_circuit(path)
        found = {} if circuit is None else circuit.settings
        options = TaskChoice(
            ablation=ablation or found.get("ablation", "zero"),
            reference_prompts=self.override.reference_prompts,
        )
        return self._load(options, circuit)

    def with_input(self, reading: R, loaded: ReadingInput, **more: Any) -> R:
        """A reading whose settings say which options it was made with."""
        own = {"circuit": self.circuit.circuit, "reference_prompts": self.override.reference_prompts}
        return super().with_input(reading, loaded, **own, **more)
