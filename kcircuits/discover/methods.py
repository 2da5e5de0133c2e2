"""The methods by name. To add one, write its file and add its class here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from kcircuits.discover.acdc import Acdc
from kcircuits.discover.by_scores import ByScores
from kcircuits.discover.eap import CleanCorrupted, Eap, EapIgActivations, EapIgInputs, Relp
from kcircuits.discover.edge_pruning import EdgePruning
from kcircuits.discover.exact import Exact
from kcircuits.discover.ifr import Ifr
from kcircuits.discover.method import Method, Scorer
from kcircuits.errors import KCircuitsError
from kcircuits.selection import Selection

SCORERS: dict[str, Callable[..., Scorer]] = {
    scorer.name: scorer for scorer in (Eap, EapIgInputs, EapIgActivations, CleanCorrupted, Ifr, Exact, Relp)
}
"""Methods that score all edges; `kcircuits.attribute` takes these."""

SEARCHES: dict[str, Callable[..., Method]] = {Acdc.name: Acdc, EdgePruning.name: EdgePruning}
"""Methods that find a circuit in another way."""

METHODS: dict[str, Callable[..., Method] | Callable[..., Scorer]] = {**SEARCHES, **SCORERS}


def method_of(name: str, options: Mapping[str, Any]) -> Method:
    """A method with its options; those of a scoring method include `Selection`'s.

    Raises
    ------
    KCircuitsError
        If there is no such method, it has no such option, or it needs one that is not given.

    Examples
    --------
    >>> method_of("acdc", {"threshold": 0.01})
    Acdc(threshold=0.01, absolute=False)
    """
    if name in SEARCHES:
        return _made(name, SEARCHES[name], options)
    scorer = _class_of(name)
    own = {field.name for field in fields(scorer)}  # type: ignore[arg-type]
    chosen = {option: value for option, value in options.items() if option not in own}
    known = {field.name for field in fields(Selection)}
    for option in chosen:
        if option not in known:
            raise KCircuitsError(_no_option(name, option, sorted(own) + sorted(known)))
    if chosen.get("top_n") is None and chosen.get("threshold") is None:
        raise KCircuitsError(f"{name} needs a top_n or a threshold")
    made = scorer_of(name, {option: value for option, value in options.items() if option in own})
    return ByScores(made, Selection(**chosen))


def scorer_of(name: str, options: Mapping[str, Any]) -> Scorer:
    """A scoring method with its options, without a selection; raises as `method_of` does."""
    made: Scorer = _made(name, _class_of(name), options)
    return made


def _class_of(name: str) -> Callable[..., Scorer]:
    if name in SEARCHES:
        raise KCircuitsError(f"{name} does not score all edges; methods that do: {', '.join(SCORERS)}")
    if name not in SCORERS:
        raise KCircuitsError(f"method must be one of {', '.join(METHODS)}; got {name!r}")
    return SCORERS[name]


def _made(name: str, kind: Any, options: Mapping[str, Any]) -> Any:
    known = {field.name: field.default is MISSING for field in fields(kind)}
    for option in options:
        if option not in known:
            raise KCircuitsError(_no_option(name, option, list(known)))
    for option, required in known.items():
        if required and option not in options:
            raise KCircuitsError(f"{name} needs a {option}")
    return kind(**options)


def _no_option(name: str, option: str, known: list[str]) -> str:
    has = f"its options are {', '.join(known)}" if known else "it has none"
    return f"{name} has no option {option!r}; {has}"
