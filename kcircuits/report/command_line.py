"""The command lines that a result came from, out of the settings that it was written with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

_INPUT = (
    *("model", "prompts", "relation", "template", "limit", "shuffle_seed", "top_k", "prompt", "answer"),
    *("corrupt", "wrong", "first_token", "reference_prompts", "dtype"),
)
_INPUT_OF_EVALUATE = ("scores", "reference", "signed", "greedy")
_HALF = ("half", "split_seed")
_MODEL = ("fold_value_biases", "keep_positions")
_DISCOVER = (
    *("ablation", "metric", "threshold", "top_n", "greedy", "level", "ig_steps", "qk_fix", "steps", "seed"),
    *_MODEL,
)
_EVALUATE = ("ablation", "metric", "hit_k", "seed")
_SIZES = (
    *("ablation", "metric", "fractions", "thresholds", "pruning_fractions", "steps", "ig_steps"),
    *("random_circuits", "seed"),
    *_MODEL,
)


def discover_command(method: str, settings: Mapping[str, Any], folder: str) -> str | None:
    """The command that found a circuit; None for one that no command of ours has found.

    What does not change a result (memory, threads, what is printed) is left out.
    """
    given = _input_options(settings)
    if given is None:
        return None
    words = ["discover", *given, "--method", method, *_options(settings, _DISCOVER)]
    if type(settings.get("absolute")) is bool:
        words.append("--absolute" if settings["absolute"] else "--signed")
    return _line(words, folder)


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
    """The command that compared methods over sizes."""
    given = _input_options(settings)
    if given is None:
        return None
    return _line(["sizes", *given, "--methods", ",".join(methods), *_options(settings, _SIZES)], folder)


def _input_options(settings: Mapping[str, Any]) -> list[str] | None:
    """The options about model and prompts, which commands record as "input"."""
    given = settings.get("input")
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        return None
    return _options(given, _INPUT) + _options(settings, _HALF)


def _options(settings: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Options as words; one that is None or False was not given."""
    words: list[str] = []
    for key in keys:
        value = settings.get(key)
        flag = "--" + key.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, str | int | float) and value is not False:
            words += [flag, str(value)]
        elif isinstance(value, list):
            words += [flag, ",".join(map(str, value))]
    return words


def _line(words: Sequence[str], folder: str) -> str:
    return shlex.join(["kcircuits", *words, "--out", folder])
