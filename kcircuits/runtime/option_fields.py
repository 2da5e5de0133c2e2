"""Options as fields of frozen dataclasses, with their defaults, names and help texts.

The command line, the YAML of sweeps, circuit.json and the docs take them from here. This module and all that
declare options must be quick to import, because `--help` needs them.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from kcircuits.errors import KCircuitsError

_KEY = "kcircuits"


@dataclass(frozen=True)
class Words:
    """Names and help text of an option.

    Parameters
    ----------
    help
        Description in one plain sentence.
    metavar
        Placeholder of its value in `--help`.
    name
        Name outside Python (circuit.json, YAML, command line); by default the field's name.
    flag
        Command line option if it is not the name with dashes, such as "--absolute/--signed".
    group
        Heading in `--help`; by default that of its class.
    default_text
        Description of the default, if its value is not clear by itself.
    least
        Smallest valid number.
    positional
        Whether it is a positional argument on the command line.
    """

    help: str
    metavar: str | None = None
    name: str | None = None
    flag: str | None = None
    group: str | None = None
    default_text: str | None = None
    least: float | None = None
    positional: bool = False


@dataclass(frozen=True)
class Option:
    """An option: a field of the dataclass `owner`, with its `Words`."""

    owner: type
    field: Field[Any]
    words: Words

    @property
    def name(self) -> str:
        """Name outside Python."""
        return self.words.name or self.field.name

    @property
    def default(self) -> Any:
        """The default; `dataclasses.MISSING` if the option is required."""
        return self.field.default

    @property
    def type(self) -> Any:
        """The type of its values."""
        return _type_of(self.owner, self.field.name)


class OptionError(KCircuitsError):
    """Raised if the value of an option is invalid, or contradicts another option.

    `problem` has the names of options in backquotes, so that each interface can write them in its own way.

    Parameters
    ----------
    problem
        What is wrong, and what to do.
    about
        Outside name of the option with the problem; empty if there are several.
    """

    def __init__(self, problem: str, about: str = "") -> None:
        super().__init__(problem.replace("`", ""))
        self.problem = problem
        self.about = about

    def named(self, name: Callable[[str], str]) -> str:
        """The problem, with the names of options replaced by `name(option)`."""
        return re.sub(r"`(\w+)`", lambda found: name(found[1]), self.problem)


class Options:
    """Base of dataclasses that check their options against their types on creation.

    `title` is their heading in `--help`.
    """

    title: ClassVar[str] = "Options"

    def __post_init__(self) -> None:
        check_options(self)


def option(
    default: Any = MISSING,
    *,
    help: str | None = None,
    like: tuple[type, str] | None = None,
    **words: Any,
) -> Any:
    """Declare a field of a dataclass as an option.

    Parameters
    ----------
    default
        The default; omitted if the option is required.
    help
        Description in one plain sentence.
    like
        A class and the outside name of one of its options, whose `Words` are reused.
    **words
        The other fields of `Words`, which replace those of `like`.
    """
    given = words if help is None else words | {"help": help}
    if like is None:
        made = Words(**given)
    else:
        kind, name = like
        made = replace(options_of(kind)[name].words, **given)
    return field(default=default, metadata={_KEY: made})


def options_of(kind: type | Any) -> dict[str, Option]:
    """Outside name -> option, for a dataclass or an instance of one."""
    owner = kind if isinstance(kind, type) else type(kind)
    found = [Option(owner, each, each.metadata[_KEY]) for each in fields(owner) if _KEY in each.metadata]
    return {each.name: each for each in found}


def settings_of(made: Any) -> dict[str, Any]:
    """Outside name -> value as JSON, for the options of an object."""
    return {name: getattr(made, each.field.name) for name, each in options_of(made).items()}


def given_options(made: Any) -> dict[str, Any]:
    """The entries of `settings_of` that are not at their defaults."""
    known = options_of(made)
    return {name: value for name, value in settings_of(made).items() if value != known[name].default}


def made_from(kind: Callable[..., Any], owner: str, given: Mapping[str, Any]) -> Any:
    """Build an object of a dataclass from options by their outside names.

    Parameters
    ----------
    kind
        The dataclass.
    owner
        Name in error messages.
    given
        The given options; the others have their defaults.

    Raises
    ------
    KCircuitsError
        If an option does not exist, a required one is missing, or the class refuses a value.
    """
    known = options_of(kind)
    for name in given:
        if name not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise KCircuitsError(f"{owner} has no option {name!r}; {has}")
    for name, each in known.items():
        if each.default is MISSING and name not in given:
            raise KCircuitsError(f"{owner} needs a {name}")
    return kind(**{known[name].field.name: value for name, value in given.items()})


def check_options(made: Any) -> None:
    """Raise OptionError if the value of an option violates its type or `least`."""
    for name, each in options_of(made).items():
        value, least = getattr(made, each.field.name), each.words.least
        good, expected = _expected(each.type, least)
        if not good(value):
            raise OptionError(f"`{name}` must be {expected}, got {reprlib.repr(value)}", name)


def value_type(kind: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was part of it."""
    parts = get_args(kind)
    rest = [part for part in parts if part is not type(None)]
    return (rest[0], True) if len(rest) == 1 < len(parts) else (kind, False)


@cache
def _type_of(owner: type, name: str) -> Any:
    """Resolve the type of one field alone, because types of other fields may be imported for mypy only."""
    known = "__annotations__"
    home = next(base for base in owner.__mro__ if name in vars(base).get(known, ()))
    alone = type("_Alone", (), {"__module__": home.__module__, known: {name: vars(home)[known][name]}})
    return get_type_hints(alone)[name]


def _expected(kind: Any, least: float | None) -> tuple[Callable[[Any], bool], str]:
    """A check for values of a type and a description of valid values; only plain types are checked."""
    kind, optional = value_type(kind)

    def is_there(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
        return lambda value: (optional and value is None) or good(value)

    def is_enough(value: Any) -> bool:
        return least is None or value >= least

    since = "" if least is None else f" from {least:g} on"
    if kind is bool:
        return is_there(lambda value: type(value) is bool), "true or false"
    if kind is int:
        return is_there(lambda value: type(value) is int and is_enough(value)), f"a whole number{since}"
    if kind is float:
        good = is_there(lambda value: type(value) in (int, float) and value - value == 0 and is_enough(value))
        return good, f"a finite number{since}"
    if kind is str:
        return is_there(lambda value: isinstance(value, str)), "text"
    if get_origin(kind) is Literal:
        names = get_args(kind)
        return is_there(lambda value: value in names), f"one of {', '.join(names)}"
    return lambda value: True, ""
