"""Read a circuit in any supported format."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote, read_head, read_text
from kcircuits.files.json_cursor import JsonCursor
from kcircuits.files.kinds import foreign_kind
from kcircuits.interop.eap_ig import read_eap_ig
from kcircuits.interop.eap_ig_files import JSON_KEYS, is_eap_ig_pt
from kcircuits.interop.edge_lists import KeyHeads, read_edge_list
from kcircuits.interop.edge_values import is_entry, is_subgraph
from kcircuits.interop.torch_file import is_saved_by_torch, load_plain
from kcircuits.scores import Scores

Source = Literal["circuit", "eap-ig", "edge-list"]
_WHAT = "circuit"
_HEAD_BYTES = 2**20
# Export formats, which cannot be read back.
_NOT_READ = (
    (r"\s*<(?:\?xml|svg|graphml|!DOCTYPE|html)", "the file is XML or HTML, such as GraphML or a picture"),
    (r"\s*(?:strict\s+)?(?:di)?graph\b[^\n]*\{", "the file is a picture in graphviz' language"),
)


@dataclass(frozen=True)
class ImportedCircuit:
    """A circuit, and the scores of all edges if the file has them."""

    circuit: Circuit
    scores: Scores | None = None


def format_of(path: str | Path) -> Source:
    """Recognise the format of a circuit by the content of its file.

    Returns
    -------
    str
        "eap-ig" for a JSON object or a file of `torch.save` with the keys of EAP-IG's, "circuit" for any
        other object, and "edge-list" for lists, tables and text.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, begins like JSON but is not, or is of an unsupported kind, which the
        message names.
    """
    try:
        if is_saved_by_torch(path, _WHAT):
            return _format_of_torch_file(load_plain(path, _WHAT))
        head = read_head(path, _WHAT, _HEAD_BYTES)
        is_whole = len(head) < _HEAD_BYTES or foreign_kind(head) is not None
        text = read_text(path, _WHAT) if is_whole else head.decode("utf-8-sig", errors="ignore")
        for pattern, what in _NOT_READ:
            if re.match(pattern, text):
                raise KCircuitsError(
                    f"not a {_WHAT} that can be read: {what}; give the file that it was made from"
                )
        if text.lstrip()[:1] != "{":
            return "edge-list"
        try:
            return _format_of_object(text)
        except KCircuitsError:
            if is_whole:
                raise
        return _format_of_object(read_text(path, _WHAT))  # the first megabyte was not enough
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error


def _format_of_torch_file(document: object) -> Source:
    if is_eap_ig_pt(document):
        return "eap-ig"
    if is_subgraph(document):
        return "edge-list"
    keys = sorted(map(str, document)) if isinstance(document, dict) else document
    raise KCircuitsError(
        f"not a {_WHAT}: files of torch.save must be from EAP-IG's Graph.to_pt or ACDC's save_subgraph, "
        f"but this one has {quote(keys)}"
    )


def _format_of_object(text: str) -> Source:
    """Recognise the format by the keys of the first object, reading no more of the text than necessary."""
    cursor = JsonCursor(text, _WHAT, nan=True)
    keys: list[str] = []
    for key in cursor.members():
        keys.append(key)
        if key == "format":
            return "circuit"
        if set(JSON_KEYS) <= set(keys):
            return "eap-ig"
        cursor.skip()
    if is_entry(dict.fromkeys(keys)):
        return "edge-list"  # one object per line
    cursor.end()
    return "circuit"


def read_any(
    path: str | Path,
    source: Source,
    identity: Callable[[], dict[str, Any]] | None,
    key_heads: KeyHeads | None = None,
) -> ImportedCircuit:
    """Read a circuit.

    Parameters
    ----------
    path, source
        The file and its format.
    identity
        Function that returns the identity of the model; None if there is no model. Only circuit.json names
        its model, which is then compared. The function may load the model, so it is called only if needed.
    key_heads
        Which heads the names of keys and values count in a list of edges
        (`kcircuits.interop.edge_lists.read_edge_list`).

    Raises
    ------
    KCircuitsError
        If the file has another format, a required identity is missing, or the circuit was found in another
        model.
    """
    if source == "circuit":
        circuit = Circuit.load(path)
        if identity is not None:
            circuit.check_model(identity())
        return ImportedCircuit(circuit)
    if identity is None:
        raise KCircuitsError(f"{path} does not name the model that it belongs to: give the model")
    if source == "eap-ig":
        return ImportedCircuit(*read_eap_ig(path, identity()))
    return ImportedCircuit(read_edge_list(path, identity(), key_heads))
