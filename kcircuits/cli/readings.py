"""The options that all commands have which read a model's runs, and how these become a model and prompts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Source
from kcircuits.errors import KCircuitsError
from kcircuits.task import Ablation, Task

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit
    from kcircuits.data.prompts import Prompt
    from kcircuits.model.loading import Model

Picture = Literal["svg", "png", "pdf"]


R = TypeVar("R", bound=Any)


@dataclass(frozen=True)
class Loaded:
    """The model, its prompts and the circuit that were asked for."""

    model: Model
    prompts: tuple[Prompt, ...]
    circuit: Circuit | None
    reference: tuple[Prompt, ...]
    folder: Path | None


@dataclass(frozen=True)
class Asked:
    """What the shared options say."""

    model: str
    circuit: str | None
    source: Source
    ablation: Ablation | None
    reference_prompts: str | None
    memory: str | None
    threads: int | None
    out: str | None
    picture: Picture
    as_json: bool
    quiet: bool

    def load(self) -> Loaded:
        """Load and check all of it; the folder for the results is there afterwards."""
        from kcircuits.cli.measured import load_circuit
        from kcircuits.cli.setup import prepare, read_reference
        from kcircuits.files import check_output_folder

        if self.circuit is None and self.ablation is not None:
            raise KCircuitsError("--ablation is of a circuit's absent edges: give --circuit, too")
        circuit = None if self.circuit is None else load_circuit(self.circuit)
        settings = {} if circuit is None else circuit.settings
        ablation = self.ablation or settings.get("ablation", "zero")
        model, chosen = prepare(
            self.model,
            self.source.split_as(settings),
            with_partners=ablation == "corrupt",
            memory=self.memory,
            threads=self.threads,
            say=not (self.quiet or self.as_json),
        )
        if circuit is not None:
            circuit.check_model(model.identity)
        reference = read_reference(self.reference_prompts, ablation, model)
        Task(chosen.prompts, ablation, "nll", reference)
        folder = None if self.out is None else check_output_folder(self.out)
        return Loaded(model, chosen.prompts, circuit, reference, folder)

    def recorded(self, reading: R, **more: Any) -> R:
        """A reading whose settings say which options it was made with."""
        given = self.source.given(
            self.model, circuit=self.circuit, reference_prompts=self.reference_prompts, **more
        )
        settings = reading.settings | self.source.half_settings | {"input": given}
        return replace(reading, settings=settings)

    def finish(
        self,
        name: str,
        reading: Any,
        loaded: Loaded,
        draw: Callable[[Any, Path], None],
        show: Callable[[Any], None],
    ) -> None:
        """Write NAME.json and its picture into the folder, if there is one, and print the reading."""
        written: list[Path] = []
        if loaded.folder is not None:
            written = [loaded.folder / f"{name}.json", loaded.folder / f"{name}.{self.picture}"]
            reading.save(written[0])
            draw(reading, written[1])
        if self.as_json:
            print(json.dumps(reading.to_json(), indent=1, allow_nan=False))
        elif not self.quiet:
            show(reading)
            if written:
                print(f"written: {', '.join(map(str, written))}")


def _shared(
    *,
    model: options.MODEL,
    circuit: Annotated[
        str | None, typer.Option("--circuit", metavar="FILE", help="A circuit.json of the model.")
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
    subject: options.SUBJECT = None,
    first_token: options.FIRST_TOKEN = False,
    half: options.HALF = None,
    split_seed: options.SPLIT_SEED = None,
    ablation: Annotated[
        Ablation | None,
        typer.Option("--ablation", help="What the circuit's absent edges carry. [default: as it was found]"),
    ] = None,
    reference_prompts: options.REFERENCE_PROMPTS = None,
    memory: options.MEMORY = None,
    threads: options.THREADS = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Write the results and a picture there.")
    ] = None,
    picture: Annotated[Picture, typer.Option("--picture", help="The picture's format.")] = "svg",
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> Asked:
    source = Source(
        prompts, relation, template, limit, shuffle_seed, top_k, prompt, answer, corrupt, wrong, first_token,
        half=half, split_seed=split_seed, subject=subject,
    )  # fmt: skip
    return Asked(
        model, circuit, source, ablation, reference_prompts, memory, threads, out, picture, as_json, quiet
    )


def reads(command: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a command, whose first argument they become, as one `Asked`.

    The command's own options are its further arguments, by keyword alone.
    """
    shared = _parameters(_shared)
    own = _parameters(command)[1:]

    @wraps(command)
    def run(**given: Any) -> None:
        names = {parameter.name for parameter in shared}
        asked = _shared(**{name: value for name, value in given.items() if name in names})
        command(asked, **{name: value for name, value in given.items() if name not in names})

    # What typer makes its options from.
    both = [*shared[:-6], *own, *shared[-6:]]
    vars(run).pop("__wrapped__")
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in both}
    vars(run)["__signature__"] = inspect.Signature(both)
    return run


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
    ]
