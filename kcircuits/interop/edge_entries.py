"""An edge as it stands in a list, and the words that tables use for its parts."""

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
    """One edge of a list.

    unit, number
        Where it stands: "line" or "entry", and which.
    sender, receiver
        Its names, tidy (`kcircuits.interop.edge_names.tidy`).
    score
        None where there is none.
    own
        It comes from a table of this project, whose names are this project's in any case.
    """

    unit: str
    number: int
    sender: str
    receiver: str
    score: float | None
    own: bool = False

    @property
    def where(self) -> str:
        """Its place, for errors."""
        return f"{self.unit} {self.number:d}"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what: by the part of an edge, the index of its column."""

    places: dict[str, int]
    own: bool

    def of(self, role: str, cells: Sequence[str]) -> str | None:
        """A row's cell; None where the table has no such column."""
        place = self.places.get(role)
        return None if place is None else cells[place]


def find_columns(names: Sequence[str]) -> Columns | None:
    """What the columns of a table hold by their names; None if these name no edge.

    Raises KCircuitsError if two of them say the same.

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
                f"two columns say the same, {quote(first)} and {quote(names[place])}: keep one"
            )
        if role is not None:
            places[role] = place
    if "sender" in places and "edge" in places:
        del places["edge"]  # both are there: the two ends are plainer
    return Columns(places, set(words) >= _OWN_TABLE)


def is_present(cell: object) -> bool:
    """What a column such as `in_graph` says of an edge; raises KCircuitsError if it is no truth value."""
    word = str(cell).strip().lower()
    if word not in (*_YES, *_NO):
        raise KCircuitsError(f"whether it is in the graph must be true or false, got {quote(cell)}")
    return word in _YES
