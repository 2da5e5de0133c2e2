"""The command lines that reproduce results, built from the settings in their files."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kcircuits.discovery import METHODS
from kcircuits.runtime.option_fields import Words, options_of
from kcircuits.scores.selection_options import Selection
from kcircuits.sizes.options import SizeOptions
from kcircuits.sizes.random_circuits import RandomCircuits
from kcircuits.task import PromptChoice, TaskOptions
from kcircuits.task.prompt_choice import OF_HALVES

_INPUT_OF_EVALUATE = ("scores", "reference", "signed", "greedy")
_EVALUATE = ("ablation", "metric", "hit_k", "seed")


def discover_command(method: str, settings: Mapping[str, Any], folder: str) -> str | None:
    """The command that found a circuit; None if it was not found on the command line.

    Options that do not change a result (memory, threads, output) are left out.
    """
    given = _input_options(settings)
    if given is None:
        return None
    options = _of(TaskOptions, *METHODS.values(), Selection)
    return _line(["discover", *given, "--method", method, *_options(settings, options)], folder)


def evaluate_command(evaluation: Mapping[str, Any], num_random: int, circuit: str, folder: str) -> str | None:
    """The command that measured a circuit."""
    given = _input_options(evaluation)
    if given is None:
        return None
    words = ["evaluate", "--circuit", circuit, *given, *_options(evaluation["input"], _INPUT_OF_EVALUATE)]
    words += [*_options(evaluation, _EVALUATE), "--random", str(num_random)]
    words += [f"--{part}" for part in ("minimality", "halves") if part in evaluation]
    return _line(words, folder)


def sizes_command(methods: Sequence[str], settings: Mapping[str, Any], folder: str) -> str | None:
    """The command that compared methods over circuit sizes."""
    given = _input_options(settings)
    if given is None:
        return None
    options = _of(TaskOptions, SizeOptions, *METHODS.values(), RandomCircuits)
    return _line(["sizes", *given, "--methods", ",".join(methods), *_options(settings, options)], folder)


def _input_options(settings: Mapping[str, Any]) -> list[str] | None:
    """The options for model and prompts, which commands record as "input"."""
    given = settings.get("input")
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        return None
    of_prompts = _of(PromptChoice)
    halves = {name: of_prompts.pop(name) for name in OF_HALVES}
    return [
        *_options(given, ("model",)),
        *_options(given, of_prompts),
        *_options(given, ("reference_prompts", "dtype")),
        *_options(settings, halves),
    ]


def _of(*kinds: type) -> dict[str, Words]:
    """Help texts and flags of the options of some classes, by name."""
    return {name: each.words for kind in kinds for name, each in options_of(kind).items()}


def _options(settings: Mapping[str, Any], names: Iterable[str] | Mapping[str, Words]) -> list[str]:
    """Options as words, without those that are None, and without False unless it has its own flag."""
    words: list[str] = []
    for name in names:
        value = settings.get(name)
        said = names[name].flag if isinstance(names, Mapping) else None
        flags = (said or "--" + name.replace("_", "-")).split("/")
        if value is True:
            words.append(flags[0])
        elif value is False:
            words += flags[1:]
        elif isinstance(value, str | int | float):
            words += [flags[0], str(value)]
        elif isinstance(value, list):
            words += [flags[0], ",".join(map(str, value))]
    return words


def _line(words: Sequence[str], folder: str) -> str:
    return shlex.join(["kcircuits", *words, "--out", folder])
