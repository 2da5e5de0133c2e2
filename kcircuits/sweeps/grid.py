"""The axes of the grid in a sweep file. All keys are checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from kcircuits.data.halves import Half
from kcircuits.data.metrics import Metric
from kcircuits.data.relations import bundled_relations, load_relation
from kcircuits.discovery import METHODS, method_and_selection
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_count, quote
from kcircuits.model.dtypes import Dtype
from kcircuits.runtime.memory import memory_bytes
from kcircuits.runtime.option_fields import OptionError, option, options_of
from kcircuits.sweeps.analyses import ANALYSES
from kcircuits.sweeps.yaml_file import Document, Place
from kcircuits.task import Ablation, PromptChoice, TaskOptions

MEMORY = "1GiB"
"""Default memory budget of one job. It does not depend on free memory, because the budget can change the last
digits of results, and a resumed sweep should give the same numbers."""

DTYPES = get_args(Dtype)
DEVICES = ("cpu", "cuda")
CHANGES = {name: each for name, each in options_of(TaskOptions).items() if name not in ("ablation", "metric")}
"""Options of a task that are given with the methods."""

_MOST_JOBS = 1_000_000


@dataclass(frozen=True)
class ModelChoice:
    """A model: its path or "demo", the data type of its weights, and its device."""

    source: str
    dtype: str
    device: str
    place: Place = field(compare=False)


@dataclass(frozen=True)
class SweepPrompts(PromptChoice):
    """Prompts of jobs: `half` is used for discovery and `measure_half` for analyses.

    `name` is their name in the summary.
    """

    measure_half: Half | None = option(
        None,
        help="Half of the prompts for analyses and evaluation.",
        default_text="the prompts of the search",
    )
    name: str = ""
    place: Place = field(default=(), compare=False)

    @property
    def uses_halves(self) -> bool:
        """Whether the prompts are split."""
        return self.half is not None or self.measure_half is not None


@dataclass(frozen=True)
class MethodChoice:
    """A discovery method with its options, and the options of `CHANGES`."""

    name: str
    options: dict[str, Any]
    changes: dict[str, Any]
    place: Place


@dataclass(frozen=True)
class Grid:
    """All axes; `analyses` has the complete options of the requested analyses."""

    models: tuple[ModelChoice, ...]
    prompts: tuple[SweepPrompts, ...]
    methods: tuple[MethodChoice, ...]
    ablations: tuple[Ablation, ...]
    metrics: tuple[Metric, ...]
    seeds: tuple[int, ...]
    analyses: dict[str, dict[str, Any]]
    memory: int


Check = Callable[[object], bool]
_WHOLE = "a whole number from 0 on"


def parse_grid(document: Document, base: Path) -> Grid:
    """Check a sweep's document. Relative paths in it are relative to `base`.

    Raises
    ------
    KCircuitsError
        If a key is unknown or missing, a value is invalid, a relation or a file does not exist, or a method
        does not have an option. The message names the key and shows its line.
    """
    top = document.value
    if not isinstance(top, dict):
        raise document.error(
            (), f"a sweep must be a mapping with the keys models, prompts, methods; got {quote(top)}"
        )
    known = ("models", "prompts", "methods", "ablations", "metrics", "seeds", "analyses", "memory")
    _check_known(document, (), top, known)
    for key in ("models", "prompts", "methods"):
        if key not in top:
            raise document.error((), f"the key {key!r} is missing")
    models = tuple(_models(document, base))
    prompts = tuple(_prompts(document, base))
    methods = tuple(_methods(document))
    seeds = _values(document, "seeds", [0], is_count, _WHOLE)
    ablations = _names(document, "ablations", ["zero"], get_args(Ablation))
    metrics = _names(document, "metrics", ["nll"], get_args(Metric))
    count = len(models) * len(prompts) * len(methods) * len(ablations) * len(metrics) * len(seeds)
    if count > _MOST_JOBS:
        raise document.error(
            (), f"{count:,} jobs, but a sweep may have {_MOST_JOBS:,}: split it into several"
        )
    return Grid(models, prompts, methods, ablations, metrics, seeds, _analyses(document), _memory(document))


def _models(document: Document, base: Path) -> Iterator[ModelChoice]:
    for index, entry in enumerate(_entries(document, "models")):
        place = ("models", index)
        given = {"model": entry} if isinstance(entry, str) else entry
        for one in _expand_entry(document, place, given, ("model", "dtype", "device")):
            source, dtype = one.get("model"), one.get("dtype", "float32")
            if not isinstance(source, str) or not source:
                raise document.error(
                    place, f"'model' must be a folder, a .gguf file or demo, got {quote(source)}"
                )
            if dtype not in DTYPES:
                raise document.error(
                    (*place, "dtype"), f"must be one of {', '.join(DTYPES)}; got {quote(dtype)}"
                )
            device = one.get("device", "cpu")
            if device not in DEVICES:
                raise document.error(
                    (*place, "device"), f"must be one of {', '.join(DEVICES)}; got {quote(device)}"
                )
            path = source if source == "demo" else str(_path(source, base))
            yield ModelChoice(path, dtype, device, place)


def _prompts(document: Document, base: Path) -> Iterator[SweepPrompts]:
    for index, entry in enumerate(_entries(document, "prompts")):
        place = ("prompts", index)
        for one in _expand_entry(document, place, entry, tuple(options_of(SweepPrompts))):
            with _options_at(document, place, one):
                choice = SweepPrompts(**one, place=place)
            own = (*place, choice.kind)
            for source in _sources(document, own, choice, base):
                name = _name_of(document, own, choice.kind, source)
                found: dict[str, Any] = {choice.kind: source, "name": name}
                yield replace(choice, **found)


@contextmanager
def _options_at(document: Document, place: Place, given: dict[str, Any]) -> Iterator[None]:
    """Add the place in the document to errors about options."""
    try:
        yield
    except OptionError as error:
        where = (*place, error.about) if error.about in given else place
        problem = str(error).removeprefix(f"{error.about} ") if error.about in given else str(error)
        raise document.error(where, problem + _hint(given.get(error.about))) from error


def _sources(document: Document, place: Place, choice: PromptChoice, base: Path) -> list[str]:
    """A bundled relation's name, or a file's path. A pattern with `*` stands for all matching files."""
    kind, given = choice.kind, choice.source
    if kind == "prompt" or (kind == "relation" and given in bundled_relations()):
        return [given]
    if "*" not in given:
        return [str(_path(given, base))]
    pattern = Path(given).expanduser()
    root = Path(pattern.anchor) if pattern.is_absolute() else base
    try:
        found = sorted(
            str(path) for path in root.glob(str(pattern.relative_to(pattern.anchor))) if path.is_file()
        )
    except (OSError, ValueError, NotImplementedError) as error:
        raise document.error(place, f"not a valid file pattern: {error}") from error
    if not found:
        raise document.error(place, f"no file matches {quote(given)}")
    return found


def _name_of(document: Document, place: Place, kind: str, source: str) -> str:
    if kind == "prompt":
        return source
    try:
        if kind == "relation":
            relation = load_relation(source)
            return source if source in bundled_relations() else relation.name
        if not Path(source).is_file():
            raise KCircuitsError(f"{source} is not a file")
    except KCircuitsError as error:
        raise document.error(place, str(error)) from error
    return Path(source).stem


def _methods(document: Document) -> Iterator[MethodChoice]:
    for index, entry in enumerate(_entries(document, "methods")):
        place = ("methods", index)
        for one in _expand_entry(document, place, entry, None):
            name = one.pop("method", None)
            if name not in METHODS:
                raise document.error(
                    place, f"'method' must be one of {', '.join(METHODS)}; got {quote(name)}"
                )
            changes = {name: one.pop(name, each.default) for name, each in CHANGES.items()}
            with _options_at(document, place, changes):
                TaskOptions(**changes)
            for key, value in one.items():
                if _hint(value):
                    raise document.error((*place, key), f"must not be text, got {quote(value)}{_hint(value)}")
            try:
                method_and_selection(name, one)
            except KCircuitsError as error:
                raise document.error(place, str(error)) from error
            yield MethodChoice(name, one, changes, place)


def _analyses(document: Document) -> dict[str, dict[str, Any]]:
    given = document.value.get("analyses") or {}
    if isinstance(given, list):
        given = dict.fromkeys(map(str, given))
    if not isinstance(given, dict):
        raise document.error(("analyses",), f"must be a list or a mapping, got {quote(given)}")
    _check_known(document, ("analyses",), given, tuple(ANALYSES))
    complete = {}
    for name, analysis in ANALYSES.items():
        if name not in given:
            continue
        chosen = given[name] or {}
        place = ("analyses", name)
        if not isinstance(chosen, dict):
            raise document.error(place, f"must be a mapping of its options, got {quote(chosen)}")
        _check_known(document, place, chosen, tuple(analysis.options))
        complete[name] = {key: option.default for key, option in analysis.options.items()} | chosen
        for key, value in chosen.items():
            if not analysis.options[key].good(value):
                expected = analysis.options[key].expected
                raise document.error((*place, key), f"must be {expected}, got {quote(value)}{_hint(value)}")
    return complete


def _memory(document: Document) -> int:
    try:
        return memory_bytes(document.value.get("memory") or MEMORY)
    except KCircuitsError as error:
        raise document.error(("memory",), str(error)) from error


def _entries(document: Document, key: str) -> list[Any]:
    entries = document.value[key]
    if not isinstance(entries, list) or not entries:
        raise document.error((key,), f"must be a list with at least one entry, got {quote(entries)}")
    return entries


def _expand_entry(
    document: Document, place: Place, entry: object, known: tuple[str, ...] | None
) -> Iterator[dict[str, Any]]:
    """All combinations of an entry's values, each of which may be a list."""
    if not isinstance(entry, dict) or not entry:
        raise document.error(place, f"must be a mapping, got {quote(entry)}")
    _check_known(document, place, entry, known or tuple(key for key in entry if isinstance(key, str)))
    axes = []
    for key, value in entry.items():
        if isinstance(value, list) and not value:
            raise document.error((*place, key), "an empty list gives no jobs")
        axes.append(value if isinstance(value, list) else [value])
    for values in product(*axes):
        yield dict(zip(entry, values, strict=True))


def _values(document: Document, key: str, default: list[Any], good: Check, expected: str) -> tuple[Any, ...]:
    given = document.value.get(key, default)
    values = given if isinstance(given, list) else [given]
    if not values:
        raise document.error((key,), "an empty list gives no jobs")
    for index, value in enumerate(values):
        if not good(value):
            raise document.error((key, index), f"must be {expected}, got {quote(value)}")
    return tuple(dict.fromkeys(values))


def _names(document: Document, key: str, default: list[str], known: tuple[str, ...]) -> tuple[Any, ...]:
    return _values(document, key, default, lambda value: value in known, f"one of {', '.join(known)}")


def _check_known(document: Document, place: Place, given: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            step = key if isinstance(key, str) else quote(key)
            raise document.error((*place, step), f"unknown key; the keys are {', '.join(known)}")


def _path(given: str, base: Path) -> Path:
    path = Path(given).expanduser()
    return path if path.is_absolute() else base / path


def _hint(value: object) -> str:
    """A hint for numbers that YAML reads as text, such as 1e-3 without a decimal point."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return ", which YAML reads as text: write 0.001 or 1.0e-3 instead of 1e-3, without quotes"
