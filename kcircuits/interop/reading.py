"""Read a circuit in any format that is understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kcircuits.circuit import Circuit
from kcircuits.documents import parse_json, read_text
from kcircuits.errors import KCircuitsError
from kcircuits.interop.eap_ig import is_eap_ig, read_eap_ig
from kcircuits.interop.edge_lists import read_edge_list
from kcircuits.scores import Scores

Source = Literal["circuit", "eap-ig", "edge-list"]


@dataclass(frozen=True)
class Found:
    """A circuit, and the scores of all edges where the file had them."""

    circuit: Circuit
    scores: Scores | None = None


def format_of(path: str | Path) -> Source:
    """Tell a circuit's format by its content.

    Returns
    -------
    str
        "eap-ig" for a JSON object with the keys of EAP-IG's file, "circuit" for any other object, and
        "edge-list" for a JSON list and for text.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, or begins like JSON and is none.
    """
    try:
        text = read_text(path, "circuit")
        if not text.lstrip().startswith("{"):
            return "edge-list"
        return "eap-ig" if is_eap_ig(parse_json(text, "circuit")) else "circuit"
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error


def read_any(path: str | Path, source: Source, identity: Callable[[], dict[str, Any]] | None) -> Found:
    """Read a circuit.

    Parameters
    ----------
    path, source
        The file and its format.
    identity
        Gives the identity of the model, which only circuit.json carries itself: there, it is compared.
        Called when the format is known to need it, as it may load the model.

    Raises
    ------
    KCircuitsError
        If the file is not of that format, the identity is needed and not given, or the circuit was found in
        another model.
    """
    if source == "circuit":
        circuit = Circuit.load(path)
        if identity is not None:
            circuit.check_model(identity())
        return Found(circuit)
    if identity is None:
        raise KCircuitsError(f"{path} does not say which model it belongs to: give the model, too")
    if source == "eap-ig":
        return Found(*read_eap_ig(path, identity()))
    return Found(read_edge_list(path, identity()))
