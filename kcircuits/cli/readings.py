"""The options that all commands have which read a model's runs, and how these become a model and prompts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from kcircuits.cli import options
from kcircuits.cli.prompts import Source
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.optional import need
from kcircuits.task import Ablation, Task

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit
    from kcircuits.model.loading import Model

Picture = Literal["svg", "png", "pdf"]


R = TypeVar("R", bound=Any)


@dataclass(frozen=True)
class Loaded:
    """The model, the task and the circuit that were asked for."""

    model: Model
    task: Task
    circuit: Circuit | None
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

    def load(self, *, ablates: bool = False) -> Loaded:
        """Load and check all of it; the folder for the results is there afterwards.

        `ablates`: the command has something to ablate without a circuit.
        """
        from kcircuits.cli.measured import load_circuit
        from kcircuits.cli.setup import prepare, read_reference

        self._check_pictures()
        if self.circuit is None and self.ablation is not None and not ablates:
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
        if circuit is None:
            task = Task(chosen.prompts, ablation, "nll", reference)
        else:
            task = Task.as_found(
                circuit, chosen.prompts, ablation=ablation, metric="nll", reference=reference
            )
        return Loaded(model, task, circuit, self.make_folder())

    def load_model(self) -> Model:
        """The model alone, for commands that make their own prompts."""
        from kcircuits.cli.setup import load

        self._check_pictures()
        return load(self.model, memory=self.memory, threads=self.threads)

    def make_folder(self) -> Path | None:
        """The folder for the results, made where it is missing; None where none is wanted."""
        from kcircuits.files.writing import check_output_folder

        return None if self.out is None else check_output_folder(self.out)

    def _check_pictures(self) -> None:
        """Before the work, not after it."""
        if self.out is not None:
            need("matplotlib", "pictures")

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


_ABOUT_RUNNING = 6  # the last of the shared options


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
        typer.Option("--ablation", help="What absent edges carry. [default: as the circuit was found]"),
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
    return reads_without()(command)


def reads_without(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`reads` without some of the shared options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = [_required(each, left_out) for each in _parameters(_shared) if each.name not in left_out]
        own = _parameters(command)[1:]
        names = {parameter.name for parameter in shared}

        @wraps(command)
        def run(**given: Any) -> None:
            asked = _shared(**{name: value for name, value in given.items() if name in names})
            with no_empty_folder(asked.out):
                command(asked, **{name: value for name, value in given.items() if name not in names})

        # What typer makes its options from: the command's own before those about running and writing.
        both = [*shared[:-_ABOUT_RUNNING], *own, *shared[-_ABOUT_RUNNING:]]
        vars(run).pop("__wrapped__")
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in both}
        vars(run)["__signature__"] = inspect.Signature(both)
        return run

    return decorate


@contextmanager
def no_empty_folder(out: str | None) -> Iterator[None]:
    """A folder that was made for results goes again where bad input, found later, leaves it empty."""
    is_new = out is not None and not Path(out).exists()
    try:
        yield
    except KCircuitsError:
        if out is not None and is_new:
            with suppress(OSError):  # never made, or not empty
                Path(out).rmdir()
        raise


def _required(parameter: inspect.Parameter, left_out: tuple[str, ...]) -> inspect.Parameter:
    """Without --prompts and --prompt, --relation is the only source of prompts."""
    alone = parameter.name == "relation" and {"prompts", "prompt"} <= set(left_out)
    return parameter.replace(default=inspect.Parameter.empty) if alone else parameter


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
    ]
