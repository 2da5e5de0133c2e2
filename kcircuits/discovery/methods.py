"""The methods by name. To add one, write its file and add its class here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcircuits.discovery.acdc import Acdc
from kcircuits.discovery.eap import CleanCorrupted, Eap, EapIg, EapIgActivations, Relp
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.discovery.exact import Exact
from kcircuits.discovery.ifr import Ifr
from kcircuits.discovery.method import Method
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import made_from, options_of
from kcircuits.scores.selection_options import Selection

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Acdc,
        EdgePruning,
        Eap,
        EapIg,
        EapIgActivations,
        CleanCorrupted,
        Ifr,
        Exact,
        Relp,
    )
}
"""All methods, in the order in which they are listed."""


def scoring_methods() -> dict[str, type[Method]]:
    """Those that score all edges, which `kcircuits.attribute` takes."""
    return {name: method for name, method in METHODS.items() if method.scores_all_edges}


def method_of(name: str, options: Mapping[str, Any]) -> Method:
    """A method with its options, by their names outside of Python.

    Raises
    ------
    KCircuitsError
        If there is no such method, it has no such option, or refuses a value.

    Examples
    --------
    >>> method_of("acdc", {"threshold": 0.05})
    Acdc(threshold=0.05, absolute=False)
    """
    made: Method = made_from(class_of(name), name, options)
    return made


def method_and_selection(
    name: str, options: Mapping[str, Any], *, must_select: bool = True
) -> tuple[Method, Selection | None]:
    """A method and, for one that scores all edges, the selection that its options hold as well.

    Without `must_select` there is no selection where no option of one is given. Raises as `method_of` and
    `Selection` do.

    Examples
    --------
    >>> method, selection = method_and_selection("eap-ig-inputs", {"ig_steps": 3, "top_n": 100})
    >>> method.steps, selection.top_n
    (3, 100)
    """
    kind = class_of(name)
    if not kind.scores_all_edges:
        return method_of(name, options), None
    own, known = options_of(kind), options_of(Selection)
    for option in options:
        if option not in own and option not in known:
            raise KCircuitsError(
                f"{name} has no option {option!r}; its options are {', '.join([*own, *known])}"
            )
    chosen = {option: value for option, value in options.items() if option not in own}
    method = method_of(name, {key: options[key] for key in options if key in own})
    if not chosen and not must_select:
        return method, None
    if chosen.get("top_n") is None and chosen.get("threshold") is None:
        raise KCircuitsError(f"{name} needs a top_n or a threshold")
    return method, Selection(**chosen)


def class_of(name: str) -> type[Method]:
    """A method's class; raises KCircuitsError if there is none of this name."""
    if name not in METHODS:
        raise KCircuitsError(f"method must be one of {', '.join(METHODS)}; got {name!r}")
    return METHODS[name]
