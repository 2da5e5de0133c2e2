"""Compare circuits of one model: overlap, layers, backbone and scores."""

from __future__ import annotations

from collections.abc import Sequence

from kcircuits.analysis.comparison.overlap import (
    edge_members,
    jaccard,
    layer_frequency,
    node_members,
    reverse_overlap,
    score_entropy,
    shared_backbone,
)
from kcircuits.analysis.comparison.results import ALL, MOST_CIRCUITS, ComparedCircuit, Comparison
from kcircuits.analysis.comparison.two_hop import two_hop
from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_number, quote
from kcircuits.graph.identity import model_label, same_weights


def compare(
    circuits: Sequence[Circuit],
    names: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    *,
    backbone: float = 0.8,
    hops: tuple[str, str, str] | None = None,
    random_circuits: int = 100,
    seed: int = 0,
) -> Comparison:
    """Compare circuits of one model.

    Parameters
    ----------
    circuits
        At least two circuits.
    names
        A different name for each; by default "1", "2", …
    domains
        The topic of each circuit, for frequencies by layer. By default all have one domain.
    backbone
        Minimum share of circuits for a node of the backbone, above 0 and at most 1.
    hops
        Names of the circuits of a composed question's two parts, and of the whole question.
    random_circuits, seed
        Only for the hops: number of random connected circuits of the whole's size to compare with. Random
        circuit i is drawn with seed + i.

    Raises
    ------
    KCircuitsError
        If the circuits belong to different models, or anything else of the input cannot be used.
    """
    if not 2 <= len(circuits) <= MOST_CIRCUITS:
        raise KCircuitsError(f"from 2 to {MOST_CIRCUITS} circuits can be compared, got {len(circuits)}")
    named = _check_names(
        "names", names or [str(number + 1) for number in range(len(circuits))], len(circuits)
    )
    fields = _check_names("domains", domains or [ALL] * len(circuits), len(circuits))
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise KCircuitsError(f"two circuits have the name {twice!r}: give them different ones")
    if not is_number(backbone) or not 0 < backbone <= 1:
        raise KCircuitsError(f"backbone must be a share above 0 and at most 1, got {quote(backbone)}")
    for what, number in (("random_circuits", random_circuits), ("seed", seed)):
        if type(number) is not int or number < 0:
            raise KCircuitsError(f"{what} must be a whole number, at least 0; got {quote(number)}")
    first = circuits[0]
    for name, circuit in zip(named, circuits, strict=True):
        if not same_weights(first.model, circuit.model) or first.graph != circuit.graph:
            raise KCircuitsError(
                f"the circuit {name!r} was found in the model {model_label(circuit.model)} and "
                f"{named[0]!r} in {model_label(first.model)}: compare circuits of one model"
            )
    between = hops and two_hop(
        hops[:2],
        hops[2],
        dict(zip(named, circuits, strict=True)),
        random_circuits=random_circuits,
        seed=seed,
    )
    graph, nodes = first.graph, node_members(first.graph, circuits)
    of_domain = {domain: [other == domain for other in fields] for domain in dict.fromkeys(fields)}
    edges = edge_members(circuits)
    return Comparison(
        model=first.model,
        circuits=tuple(
            ComparedCircuit(name, domain, len(circuit.edges), len(circuit.nodes), score_entropy(circuit))
            for name, domain, circuit in zip(named, fields, circuits, strict=True)
        ),
        node_overlap=jaccard(nodes),
        edge_overlap=jaccard(edges),
        reverse_overlap=reverse_overlap(nodes),
        frequency={domain: layer_frequency(graph, nodes[rows]) for domain, rows in of_domain.items()},
        least=float(backbone),
        backbone=shared_backbone(graph, nodes, backbone),
        two_hop=between,
    )


def _check_names(what: str, values: Sequence[str], count: int) -> tuple[str, ...]:
    if len(values) != count:
        raise KCircuitsError(f"{what} must be one for each of the {count} circuits, got {len(values)}")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise KCircuitsError(f"{what} must be texts that are not empty, got {quote(value)}")
    return tuple(values)
