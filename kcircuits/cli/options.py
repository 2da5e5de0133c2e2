"""Groups of options that several commands have.

Nothing here may import torch before a command runs: `--help` must be quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kcircuits.data.metrics import Metric
from kcircuits.model.dtypes import Dtype
from kcircuits.runtime.option_fields import OptionError, Options, given_options, option
from kcircuits.task import Ablation, TaskOptions

Picture = Literal["svg", "png", "pdf"]


@dataclass(frozen=True)
class ModelSource(Options):
    """A model, with weights in float32 on the CPU."""

    title: ClassVar[str] = "Model"

    model: str = option(
        help="Hugging Face folder, GGUF file, name of a model in Hugging Face's cache, or `demo`.",
        metavar="DIR|FILE.gguf|NAME|demo",
    )

    @property
    def given_options(self) -> dict[str, Any]:
        """The options that were given and change a result, as results record them under "input"."""
        return {name: value for name, value in given_options(self).items() if name != "device_map"}


@dataclass(frozen=True)
class ModelOptions(ModelSource):
    """A model, and how its weights are kept."""

    dtype: Dtype = option(
        "float32",
        help="Data type of the weights; activations are float32. q8 and q4 round matrices to 8 and 4 bits, "
        "stored keeps a GGUF file's own bits.",
    )
    device_map: str | None = option(
        None,
        help="Spread the layers over all GPUs, or as a file says; for the gradient methods and evaluation.",
        metavar="auto|F.json",
        default_text="all on the CPU",
    )


@dataclass(frozen=True)
class TaskChoice(TaskOptions):
    """A task but for its prompts, with the reference as a file."""

    reference_prompts: str | None = option(
        None,
        help="File of prompts that mean ablation averages over.",
        metavar="F.jsonl",
        default_text="the prompts themselves",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_reference(self.reference_prompts, self.ablation)


@dataclass(frozen=True)
class CircuitChoice(Options):
    """The circuit that is read."""

    title: ClassVar[str] = "Circuit"

    circuit: str | None = option(None, help="A circuit.json of the model.", metavar="FILE")


@dataclass(frozen=True)
class AblationOverride(Options):
    """What may be other than when a circuit was found; None: as it was found."""

    title: ClassVar[str] = "Task"

    ablation: Ablation | None = option(
        None, like=(TaskOptions, "ablation"), default_text="as the circuit was found"
    )
    reference_prompts: str | None = option(None, like=(TaskChoice, "reference_prompts"))


@dataclass(frozen=True)
class TaskOverrides(AblationOverride):
    """`AblationOverride`, and the metric."""

    metric: Metric | None = option(
        None, like=(TaskOptions, "metric"), default_text="as the circuit was found"
    )


@dataclass(frozen=True)
class Threads(Options):
    """Threads alone."""

    title: ClassVar[str] = "Run"

    threads: int | None = option(
        None, help="Number of CPU threads to use.", metavar="N", least=1, default_text="all cores"
    )


@dataclass(frozen=True)
class Memory(Options):
    """Memory alone."""

    title: ClassVar[str] = "Run"

    memory: str | None = option(
        None,
        help="Memory budget beside the weights, such as 8GiB; too little for one prompt is an error.",
        metavar="SIZE",
        default_text="a quarter of the free memory, at most 4GiB, or what one prompt needs",
    )


@dataclass(frozen=True)
class Running(Threads, Memory):
    """What a command may use."""


@dataclass(frozen=True)
class JsonOutput(Options):
    """What is printed by commands that print nothing else."""

    title: ClassVar[str] = "Output"

    as_json: bool = option(False, help="Print JSON to stdout, and no progress.", name="json")


@dataclass(frozen=True)
class Quiet(Options):
    """Whether anything is printed by commands that print no JSON."""

    title: ClassVar[str] = "Output"

    quiet: bool = option(False, help="Print nothing but warnings and errors.")


@dataclass(frozen=True)
class Printing(Quiet, JsonOutput):
    """What is printed."""

    @property
    def shows_progress(self) -> bool:
        """Whether progress and the like are shown."""
        return not (self.quiet or self.as_json)


@dataclass(frozen=True)
class _Folder(Options):
    """A base by itself, so that the folder comes first."""

    title: ClassVar[str] = "Output"

    out: str = option(help="Folder for the results.", metavar="DIR")


@dataclass(frozen=True)
class FolderOutput(Printing, _Folder):
    """Results in a folder, and what is printed."""


@dataclass(frozen=True)
class _MaybeFolder(Options):
    title: ClassVar[str] = "Output"

    out: str | None = option(None, like=(_Folder, "out"), default_text="results are only printed")


@dataclass(frozen=True)
class Output(Printing, _MaybeFolder):
    """Results in a folder, if one is given, and what is printed."""


@dataclass(frozen=True)
class PictureOutput(Output):
    """`Output`, with a picture in the folder."""

    picture: Picture = option("svg", help="File format of the picture.")


def check_reference(path: str | None, ablation: str | None) -> None:
    """Raise OptionError where a reference is given for an ablation that has no means."""
    if path is not None and not (ablation or "").startswith("mean"):
        got = ablation or "none: give `ablation` mean"
        raise OptionError(f"`reference_prompts` is for mean ablation alone, got {got}", "reference_prompts")
