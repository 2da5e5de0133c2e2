"""An entry of a list of edges, and the column names that tables use for its parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote

WHAT = "list of edges"

_ROLES = {
    "sender": "src source sender from parent upstream src_node source_node",
    "receiver": "dst dest destination target tgt receiver to child downstream dst_node target_node",
    "edge": "edge edge_name name",
    "score": "score weight effect effect_size attribution importance value",
    "kind": "kind qkv",
    "present": "in_graph in_circuit present",
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
_OWN_TABLE = {"sender", "receiver", "kind", "sender_layer", "receiver_layer", "score"}
_YES, _NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list of edges.

    unit, number
        Its position: "line" or "entry", and the number.
    sender, receiver
        Names of its ends, normalised by `kcircuits.interop.edge_names.tidy`.
    score
        None if the entry has no score.
    own
        Whether it is from a table of this project, which always uses this project's names.
    """

    unit: str
    number: int
    sender: str
    receiver: str
    score: float | None
    own: bool = False

    @property
    def where(self) -> str:
        """Its position, for errors."""
        return f"{self.unit} {self.number:d}"


@dataclass(frozen=True)
class Columns:
    """Columns of a table: part of an edge -> index of its column."""

    places: dict[str, int]
    own: bool

    def of(self, role: str, cells: Sequence[str]) -> str | None:
        """The cell of a row for a part of the edge; None if the table has no such column."""
        place = self.places.get(role)
        return None if place is None else cells[place]


def find_columns(names: Sequence[str]) -> Columns | None:
    """Find the columns of a table by their names; None if these do not describe edges.

    Raises KCircuitsError if two columns have the same meaning.

    Examples
    --------
    >>> find_columns(["Source", "target", "weight"]).places
    {'sender': 0, 'receiver': 1, 'score': 2}
    """
    words = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in names]
    places: dict[str, int] = {}
    roles = [_ROLE_OF.get(word) for word in words]
    if not ("edge" in roles or {"sender", "receiver"} <= set(roles)):
        return None
    for place, role in enumerate(roles):
        if role in places:
            first = names[places[role]]
            raise KCircuitsError(
                f"the columns {quote(first)} and {quote(names[place])} have the same meaning: keep one"
            )
        if role is not None:
            places[role] = place
    if "sender" in places and "edge" in places:
        del places["edge"]  # if both are present, the two ends are used
    return Columns(places, set(words) >= _OWN_TABLE)


def is_present(cell: object) -> bool:
    """The value of a column such as `in_graph`; raises KCircuitsError if it is neither true nor false."""
    word = str(cell).strip().lower()
    if word not in (*_YES, *_NO):
        raise KCircuitsError(f"whether it is in the graph must be true or false, got {quote(cell)}")
    return word in _YES
