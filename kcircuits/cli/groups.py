"""Commands whose parameters are groups of options: dataclasses, whose fields become the options.

A command is written as `def command(model: ModelOptions, output: Output) -> None`. `build_command` turns it
into what typer reads, a function with one parameter for every option; `--help` shows the options by group.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import typer
from typer.core import TyperCommand

from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import OptionError, Words, options_of, value_type

WIDTH = 100
"""Of `--help`, where the terminal is as wide."""

ARGUMENTS, OTHER = "Arguments", "Other"
LAST = ("Run", "Output", OTHER)
"""Headings of `--help` that come after a command's own."""

_NUMBERS = {int: "whole numbers", float: "numbers"}


@dataclass(frozen=True)
class CommandOption:
    """An option as the command line offers it.

    Parameters
    ----------
    name
        Its outside name.
    type
        The type of its values.
    default
        The default; `dataclasses.MISSING` where it must be given.
    words
        What is said of it.
    group
        Its heading in `--help`.
    notes
        What stands in brackets after its help: who has it, and its default.
    """

    name: str
    type: Any
    default: Any
    words: Words
    group: str
    notes: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """What is typed."""
        return self.words.flag or flag_of(self.name)


@runtime_checkable
class Group(Protocol):
    """A group that is no dataclass of options, and says itself what it offers."""

    @classmethod
    def list_options(cls) -> list[CommandOption]:
        """Its options."""
        ...

    @classmethod
    def build(cls, given: Mapping[str, Any]) -> Any:
        """An object from the values of its options, by their names."""
        ...


def build_command(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a function of groups of options into a command of typer's."""
    hints = get_type_hints(command)
    groups = {name: hints[name] for name in inspect.signature(command).parameters}

    def run(**given: Any) -> None:
        made = {name: build_group(kind, given) for name, kind in groups.items()}
        with no_empty_folder(given.get("out")):
            command(**made)

    parameters = [_parameter(each) for kind in groups.values() for each in list_options(kind)]
    run.__doc__ = command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    vars(run)["__signature__"] = inspect.Signature(parameters)
    return run


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


def add(app: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Add a function of groups of options to an application."""
    context = {"max_content_width": WIDTH}
    app.command(name, cls=GroupedCommand, context_settings=context)(build_command(command))


@cache  # commands share groups, and every start of the command line makes all of them
def list_options(kind: Any) -> tuple[CommandOption, ...]:
    """The options of a group, or of all groups that a dataclass of groups holds."""
    if isinstance(kind, Group):
        return tuple(kind.list_options())
    known = options_of(kind)
    if not known:
        return tuple(each for part in _parts(kind).values() for each in list_options(part))
    return tuple(
        CommandOption(
            name,
            each.type,
            each.default,
            each.words,
            each.words.group or (ARGUMENTS if each.words.positional else kind.title),
            tuple(filter(None, [default_note(each.words, each.default)])),
        )
        for name, each in known.items()
    )


def build_group(kind: Any, given: Mapping[str, Any]) -> Any:
    """A group from the values of all options of a command.

    Raises
    ------
    KCircuitsError
        If the group refuses a value; the message calls options as they are typed.
    """
    if not isinstance(kind, Group) and not options_of(kind):
        return kind(**{name: build_group(part, given) for name, part in _parts(kind).items()})
    offered = {each.name: each for each in list_options(kind)}
    values = {name: _value(each, given[name]) for name, each in offered.items()}
    try:
        if isinstance(kind, Group):
            return kind.build(values)
        return kind(**{each.field.name: values[name] for name, each in options_of(kind).items()})
    except OptionError as error:
        named = error.named(lambda name: offered[name].flag if name in offered else flag_of(name))
        raise KCircuitsError(named) from error


def flag_of(name: str) -> str:
    """The option on the command line for an outside name."""
    return "--" + name.replace("_", "-")


def default_note(words: Words, default: Any) -> str:
    """The default in words, as `--help` shows it; empty where there is nothing to say."""
    text = typed_default(words, default) if words.default_text is None else words.default_text
    return f"default: {text}" if text else ""


def typed_default(words: Words, default: Any) -> str:
    """A default value as it is typed; empty for one that means "not given"."""
    if isinstance(default, bool):
        named = (words.flag or "").split("/")
        return "" if len(named) == 1 else named[0 if default else 1].removeprefix("--")
    if default is None or default is MISSING:
        return ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


class GroupedCommand(TyperCommand):
    """A command whose `--help` shows options under the headings of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each heading: those of a command in the order of its groups, then `LAST`."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "rich_help_panel", None) or OTHER
                sections.setdefault(heading, []).append(record)
        for heading in sorted(sections, key=lambda name: LAST.index(name) if name in LAST else -1):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def _parts(kind: Any) -> dict[str, Any]:
    """The groups that a dataclass of groups holds, by its fields."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _parameter(each: CommandOption) -> inspect.Parameter:
    """What typer makes an option of. None is what was not given; `_value` knows the default."""
    text = f"{each.words.help} [{'; '.join(each.notes)}]" if each.notes else each.words.help
    words: dict[str, Any] = {
        "help": text,
        "metavar": each.words.metavar,
        "rich_help_panel": each.group,
        "show_default": False,
    }
    about = typer.Argument(**words) if each.words.positional else typer.Option(each.flag, **words)
    kind, _ = value_type(each.type)
    typed: Any = str if _listed_type(kind) else kind
    must = each.default is MISSING
    annotation: Any = Annotated[typed if must else typed | None, about]
    none = inspect.Parameter.empty if must else None
    return inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=none, annotation=annotation)


def _value(each: CommandOption, given: Any) -> Any:
    """The value of an option from what typer gives for it."""
    if given is None:
        return each.default
    kind = _listed_type(value_type(each.type)[0])
    if kind is None:
        return given
    parts = [part.strip() for part in given.split(",")]
    try:
        return tuple(kind(part) for part in parts)
    except ValueError:
        expected = f"{_NUMBERS[kind]} with commas between them"
        raise KCircuitsError(f"{each.flag} must be {expected}, got {given!r}") from None


def _listed_type(kind: Any) -> Any:
    """The type of the values of `tuple[X, ...]`, which is typed with commas; None for others."""
    parts = get_args(kind)
    return parts[0] if get_origin(kind) is tuple and parts[-1] is ... else None
