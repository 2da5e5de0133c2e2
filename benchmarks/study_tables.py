"""The tables of docs/findings.md, from benchmarks/results/study.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

Row = tuple[str, ...]
Study = dict[str, Any]
HITS = ("full", "circuit", "random")


def relations(study: Study) -> tuple[Row, list[Row]]:
    """All relations with a circuit: Hit@10 of the model, the circuit and random circuits, on both halves."""
    head = (
        *("relation", "facts known", "edges", "nodes"),
        *("validation: model", "circuit", "random"),
        *("test: model", "circuit", "random", "faithfulness"),
    )
    return head, [
        (
            name_of(each),
            f"{each['known']} of {each['prompts']}",
            f"{each['edges']:,} ({100 * each['share_of_edges']:.2g} %)",
            str(each["nodes"]),
            *(f"{each['validation'][run]:.2f}" for run in HITS),
            *(f"{each['test'][run]:.2f}" for run in HITS),
            f"{each['test']['faithfulness']:.2f}",
        )
        for each in with_circuit(study)
    ]


def means(study: Study) -> tuple[Row, list[Row]]:
    """Means by domain and over all relations."""
    head = (
        *("domain", "relations", "median share of edges"),
        *("validation: circuit", "random", "test: circuit", "random", "faithfulness on test"),
    )
    done = with_circuit(study)
    domains = list(dict.fromkeys(each["domain"] for each in done))
    rows = [(domain, [each for each in done if each["domain"] == domain]) for domain in domains]
    return head, [
        (
            domain,
            str(len(some)),
            f"{100 * median(each['share_of_edges'] for each in some):.2g} %",
            *(
                f"{fmean(each[half][run] for each in some):.2f}"
                for half in ("validation", "test")
                for run in ("circuit", "random")
            ),
            f"{fmean(each['test']['faithfulness'] for each in some):.2f}",
        )
        for domain, some in [*rows, ("**all**", done)]
    ]


def roles(study: Study) -> tuple[Row, list[Row]]:
    """Each role: number of heads, the most frequent ones, and Hit@10 without them."""
    head = (
        "role",
        "heads per relation (of 20)",
        "most frequent",
        "Hit@10 without them",
        "without random heads",
    )
    done = with_circuit(study)
    rows = []
    for role in ("mover", "relation", "mixture"):
        of_role = [each["roles"]["heads"][role] for each in done]
        often = Counter(head for heads in of_role for head in heads).most_common(4)
        hits = [each["roles"]["hit_without"] for each in done]
        without = [each[role] for each in hits if role in each]
        rows.append(
            (
                role,
                f"{fmean(map(len, of_role)):.1f}",
                ", ".join(f"`{node}` ({count} of {len(done)})" for node, count in often),
                f"{fmean(own for own, _ in without):.2f}",
                f"{fmean(random for _, random in without):.2f}",
            )
        )
    return head, rows


def shared(study: Study) -> tuple[Row, list[Row]]:
    """Overlap of circuits of 300 edges."""
    head = ("circuits of", "nodes in common (Jaccard)", "edges in common")
    overlaps = study["shared"]
    names = {"within_domains": "two relations of one domain", "across_domains": "two of different domains"}
    return head, [
        (title, *(f"{overlaps[kind][key]:.2f}" for kind in ("node_overlap", "edge_overlap")))
        for key, title in names.items()
    ]


def unknown(study: Study) -> str:
    """The relations with too few known facts."""
    return ", ".join(
        f"{name_of(each)} ({each['known']} of {each['prompts']})"
        for each in study["relations"]
        if "edges" not in each
    )


def backbone(study: Study) -> str:
    """The nodes that are in most circuits."""
    nodes = study["shared"]["backbone"]
    return ", ".join(f"`{each['node']}` ({100 * each['share']:.0f} %)" for each in nodes)


def with_circuit(study: Study) -> list[dict[str, Any]]:
    """The relations that have a circuit."""
    return [each for each in study["relations"] if "edges" in each]


def name_of(each: dict[str, Any]) -> str:
    return f"{each['domain']}: {each['file'].replace('_', ' ')}"


TABLES: dict[str, Callable[[Study], tuple[Row, Sequence[Row]]]] = {
    "relations": relations,
    "means": means,
    "roles": roles,
    "shared": shared,
}
TEXTS: dict[str, Callable[[Study], str]] = {"unknown": unknown, "backbone": backbone}
