"""The methods by name. To add one, write its file and add its class here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from kcircuits.discover.acdc import Acdc
from kcircuits.discover.method import Method
from kcircuits.errors import KCircuitsError

METHODS: dict[str, Callable[..., Method]] = {Acdc.name: Acdc}


def method_of(name: str, options: Mapping[str, Any]) -> Method:
    """A method with its options.

    Raises
    ------
    KCircuitsError
        If there is no such method, it has no such option, or it needs one that is not given.

    Examples
    --------
    >>> method_of("acdc", {"threshold": 0.01})
    Acdc(threshold=0.01, absolute=False)
    """
    if name not in METHODS:
        raise KCircuitsError(f"method must be one of {', '.join(METHODS)}; got {name!r}")
    method: Any = METHODS[name]
    known = {field.name: field.default is MISSING for field in fields(method)}
    for option in options:
        if option not in known:
            raise KCircuitsError(f"{name} has no option {option!r}; its options are {', '.join(known)}")
    for option, required in known.items():
        if required and option not in options:
            raise KCircuitsError(f"{name} needs a {option}")
    made: Method = method(**options)
    return made
