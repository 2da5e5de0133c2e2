"""Edges as a table for pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kcircuits.circuit import Edge
from kcircuits.graph import kind_of, layer_of
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame


def edge_table(edges: Sequence[Edge]) -> DataFrame:
    """One row per edge, in the order given.

    Returns
    -------
    pandas.DataFrame
        Columns `sender`, `receiver`, `kind` ("q", "k", "v", "mlp" or "logits"), `sender_layer` and
        `receiver_layer` (Int64, missing for `input` and `logits`), and `score` (float64).

    Examples
    --------
    >>> print(edge_table([Edge("input", "a1.h0<q>", 0.5)]).to_csv(index=False), end="")
    sender,receiver,kind,sender_layer,receiver_layer,score
    input,a1.h0<q>,q,,1,0.5
    """
    need("pandas", "tables")
    from pandas import DataFrame, array

    return DataFrame(
        {
            "sender": [edge.sender for edge in edges],
            "receiver": [edge.receiver for edge in edges],
            "kind": [kind_of(edge.receiver) for edge in edges],
            "sender_layer": array([layer_of(edge.sender) for edge in edges], dtype="Int64"),
            "receiver_layer": array([layer_of(edge.receiver) for edge in edges], dtype="Int64"),
            "score": array([edge.score for edge in edges], dtype="float64"),
        }
    )
