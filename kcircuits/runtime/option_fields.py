"""Options as the fields of frozen dataclasses: their default, and the words that every surface uses for them.

The command line, the sweep's YAML, circuit.json and the docs read them from here. This module imports nothing
heavy, and neither may a module that declares such a class: `--help` shows them.
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
    """What is said of an option.

    Parameters
    ----------
    help
        What it is, in one plain sentence.
    metavar
        Placeholder of its value in `--help`.
    name
        What it is called outside of Python (circuit.json, YAML, command line); by default the field's name.
    flag
        Its option on the command line where that is not the name with dashes, such as "--absolute/--signed".
    group
        Heading of `--help` that it stands under; by default that of its class.
    default_text
        What happens without it, where its default does not say so.
    least
        The smallest number that it takes.
    positional
        Whether the command line takes it by its place.
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
    """An option: a field of the dataclass `owner`, and its words."""

    owner: type
    field: Field[Any]
    words: Words

    @property
    def name(self) -> str:
        """What it is called outside of Python."""
        return self.words.name or self.field.name

    @property
    def default(self) -> Any:
        """The default; `dataclasses.MISSING` where it must be given."""
        return self.field.default

    @property
    def type(self) -> Any:
        """The type of its values."""
        return _type_of(self.owner, self.field.name)


class OptionError(KCircuitsError):
    """An option has a value that it cannot have, or does not go with another one.

    Options stand in backquotes in `problem`, so that every surface can name them in its own way.

    Parameters
    ----------
    problem
        What is wrong, and what to do.
    about
        Outside name of the option that the problem is with; empty where it is with several.
    """

    def __init__(self, problem: str, about: str = "") -> None:
        super().__init__(problem.replace("`", ""))
        self.problem = problem
        self.about = about

    def named(self, name: Callable[[str], str]) -> str:
        """The problem, with every option called as `name` calls it."""
        return re.sub(r"`(\w+)`", lambda found: name(found[1]), self.problem)


class Options:
    """Base of dataclasses whose options are checked against their types when an object is made.

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
    """A field of a dataclass that is an option.

    Parameters
    ----------
    default
        The default; left out where the option must be given.
    help
        What it is, in one plain sentence.
    like
        A class and the outside name of an option of it, which says the same: its words are taken.
    **words
        The other fields of `Words`; those that are given replace those of `like`.
    """
    given = words if help is None else words | {"help": help}
    if like is None:
        made = Words(**given)
    else:
        kind, name = like
        made = replace(options_of(kind)[name].words, **given)
    return field(default=default, metadata={_KEY: made})


def options_of(kind: type | Any) -> dict[str, Option]:
    """The fields of a dataclass, or of an object of one, that are options, by their outside names."""
    owner = kind if isinstance(kind, type) else type(kind)
    found = [Option(owner, each, each.metadata[_KEY]) for each in fields(owner) if _KEY in each.metadata]
    return {each.name: each for each in found}


def settings_of(made: Any) -> dict[str, Any]:
    """An object's options as JSON values, by their outside names."""
    return {name: getattr(made, each.field.name) for name, each in options_of(made).items()}


def given_options(made: Any) -> dict[str, Any]:
    """Those of `settings_of` that are not at their defaults, which is how they were given."""
    known = options_of(made)
    return {name: value for name, value in settings_of(made).items() if value != known[name].default}


def made_from(kind: Callable[..., Any], owner: str, given: Mapping[str, Any]) -> Any:
    """An object of a dataclass from options by their outside names.

    Parameters
    ----------
    kind
        The dataclass.
    owner
        What messages call it.
    given
        The options that were given; others have their default.

    Raises
    ------
    KCircuitsError
        If there is no such option, one that must be given is missing, or the class refuses a value.
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
    """Raise OptionError if an option of an object has a value that its type or `least` does not allow."""
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
    """The type of a field, by itself: names of other fields' types may be imported for type checks alone."""
    known = "__annotations__"
    home = next(base for base in owner.__mro__ if name in vars(base).get(known, ()))
    alone = type("_Alone", (), {"__module__": home.__module__, known: {name: vars(home)[known][name]}})
    return get_type_hints(alone)[name]


def _expected(kind: Any, least: float | None) -> tuple[Callable[[Any], bool], str]:
    """A check for the values of a type, and what they are in words; only plain types are checked."""
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
