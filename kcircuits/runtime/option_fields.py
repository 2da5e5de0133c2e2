"""Options as the fields of frozen dataclasses: their default, and the words that every surface uses for them.

The command line, the sweep's YAML, circuit.json and the docs read them from here. This module imports nothing
heavy, and neither may a module that declares such a class: `--help` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any

from kcircuits.errors import KCircuitsError

_KEY = "kcircuits"


def option(
    default: Any = MISSING,
    *,
    help: str,
    metavar: str | None = None,
    name: str | None = None,
    flag: str | None = None,
    group: str | None = None,
) -> Any:
    """A field of a dataclass that is an option.

    Parameters
    ----------
    default
        The default; left out where the option must be given.
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
    """
    words = {"help": help, "metavar": metavar, "name": name, "flag": flag, "group": group}
    return field(default=default, metadata={_KEY: words})


def words_of(each: Field[Any]) -> Mapping[str, Any]:
    """The words of an option's field: help, metavar, name, flag and group."""
    words: Mapping[str, Any] = each.metadata[_KEY]
    return words


def options_of(kind: type | Any) -> dict[str, Field[Any]]:
    """The fields of a dataclass that are options, by their outside names."""
    return {words_of(each)["name"] or each.name: each for each in fields(kind) if _KEY in each.metadata}


def settings_of(made: Any) -> dict[str, Any]:
    """An object's options as JSON values, by their outside names."""
    return {name: getattr(made, each.name) for name, each in options_of(made).items()}


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
    return kind(**{known[name].name: value for name, value in given.items()})
