"""The method of a search, and the selection from its scores, from the options of all registered methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kcircuits.cli.groups import CommandOption, default_note, typed_default
from kcircuits.discovery.method import Method
from kcircuits.discovery.methods import METHODS, method_and_selection
from kcircuits.runtime.option_fields import Option, Words, options_of, value_type
from kcircuits.scores.selection_options import Selection
from kcircuits.sizes.options import DEFAULT_METHODS
from kcircuits.sizes.random_circuits import RandomCircuits

DEFAULT = "acdc"


@dataclass(frozen=True)
class MethodOptions:
    """A method with its options, and the selection that was asked for, if any."""

    title: ClassVar[str] = "Method"

    method: Method
    selection: Selection | None

    @classmethod
    def list_options(cls) -> list[CommandOption]:
        """The method, every option of any method, and those of a selection; each once."""
        words = Words(help="Method of discovery.")
        kinds: Any = Literal[tuple(METHODS)]
        first = CommandOption("method", kinds, DEFAULT, words, cls.title, (default_note(words, DEFAULT),))
        return [first, *_unite(METHODS, Selection)]

    @classmethod
    def build(cls, given: Mapping[str, Any]) -> MethodOptions:
        """The method and the selection; options that were not given keep the defaults of their class.

        Raises
        ------
        KCircuitsError
            If the method does not have an option, or refuses a value.
        """
        chosen = {name: value for name, value in given.items() if name != "method" and value is not None}
        return cls(*method_and_selection(given["method"], chosen, must_select=False))


@dataclass(frozen=True)
class ComparedMethods:
    """Methods to compare, each with those of the options that it has, and the options that were given."""

    title: ClassVar[str] = "Method"

    compared: tuple[Method | RandomCircuits, ...]
    options: dict[str, Any]

    @classmethod
    def list_options(cls) -> list[CommandOption]:
        """The methods, and the options of all; which edges they select is a matter of the sizes."""
        words = Words(help="Methods of discover, and `random` for random circuits.", metavar="A,B,…")
        default = tuple(method.name for method in DEFAULT_METHODS)
        note = default_note(words, default)
        first = CommandOption("methods", tuple[str, ...], default, words, cls.title, (note,))
        of_selection = options_of(Selection)
        united = _unite(METHODS | {RandomCircuits.name: RandomCircuits})
        return [first, *(each for each in united if each.name not in of_selection)]

    @classmethod
    def build(cls, given: Mapping[str, Any]) -> ComparedMethods:
        """The methods; raises KCircuitsError if there is none of a name, or a value is refused."""
        from kcircuits.sizes import make_methods

        chosen = {name: value for name, value in given.items() if name != "methods" and value is not None}
        return cls(make_methods([name for name in given["methods"] if name], chosen), chosen)


def _unite(kinds: Mapping[str, type], selection: type | None = None) -> list[CommandOption]:
    """One option for all classes that have one of its name, and for a selection; None is not given."""
    of_kinds = {name: options_of(kind) for name, kind in kinds.items()}
    of_selection = {} if selection is None else options_of(selection)
    names = dict.fromkeys(name for known in (*of_kinds.values(), of_selection) for name in known)
    found = []
    for name in names:
        owners = {owner: known[name] for owner, known in of_kinds.items() if name in known}
        notes = [] if name in of_selection or len(owners) == len(kinds) else [", ".join(owners)]
        one = next(iter(owners.values()), None) or of_selection[name]
        title = Selection.title if name in of_selection else MethodOptions.title
        kind, _ = value_type(one.type)
        notes.append(_defaults(owners, of_selection.get(name)))
        notes = list(filter(None, notes))
        found.append(
            CommandOption(name, kind | None, None, one.words, one.words.group or title, tuple(notes))
        )
    return found


def _default(each: Option) -> str:
    return each.words.default_text or typed_default(each.words, each.default)


def _defaults(owners: Mapping[str, Option], of_selection: Option | None) -> str:
    """The default; by owner where these have different ones."""
    known = {f"for {name}": _default(each) for name, each in owners.items()}
    if of_selection is not None:
        known["for other methods"] = _default(of_selection)
    values = set(known.values())
    if len(values) == 1:
        (value,) = values
        return f"default: {value}" if value else ""
    return "default: " + ", ".join(f"{value} {owner}" for owner, value in known.items() if value)
