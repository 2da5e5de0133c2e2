"""`kcircuits compare`: what circuits of one model share."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, ClassVar

from kcircuits.cli.evaluate import Measures
from kcircuits.cli.options import PictureOutput
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.runtime.option_fields import Options, option
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from kcircuits.analysis.comparison.results import Comparison
    from kcircuits.analysis.comparison.two_hop import TwoHop

_MOST_PAIRS = 20
_MOST_NODES = 40


@dataclass(frozen=True)
class Compared(Options):
    """The circuits and what to compare."""

    title: ClassVar[str] = "Comparison"

    circuits: list[str] = option(
        help="Files of two or more circuits.", metavar="A/circuit.json B/circuit.json …", positional=True
    )
    names: tuple[str, ...] | None = option(
        None, help="Names of the circuits, in order.", metavar="A,B,…", default_text="their folders"
    )
    domains: tuple[str, ...] | None = option(
        None, help="Domain of each circuit; layers are counted by domain.", metavar="A,B,…"
    )
    backbone: float = option(0.8, help="List the nodes that this share of the circuits has.", metavar="SHARE")
    hops: tuple[str, str, str] | None = option(
        None,
        help="Names of three circuits, to measure how much of the first two the third contains.",
        metavar="PART1 PART2 WHOLE",
        flag="--two-hop",
        group="Two hops",
    )
    random_circuits: int = option(100, like=(Measures, "random"), group="Two hops")
    seed: int = option(0, like=(EdgePruning, "seed"), least=0, group="Two hops")


def command(compared: Compared, output: PictureOutput) -> None:
    """Compare circuits of one model: shared nodes and edges, layers, and a backbone that most have."""
    from kcircuits.analysis.comparison.reading import compare
    from kcircuits.circuit import Circuit
    from kcircuits.files.writing import check_output_folder, write_together

    if output.out is not None:
        need("matplotlib", "pictures")
    paths = compared.circuits
    found = compare(
        [Circuit.load(path) for path in paths],
        _by_folder(paths) if compared.names is None else list(compared.names),
        None if compared.domains is None else list(compared.domains),
        backbone=compared.backbone,
        hops=compared.hops,
        random_circuits=compared.random_circuits,
        seed=compared.seed,
    )
    written: list[Path] = []
    if output.out is not None:
        from kcircuits.analysis.comparison.plot import draw_comparison

        folder = check_output_folder(output.out)
        written = [folder / "comparison.json", folder / f"comparison.{output.picture}"]
        with write_together():
            found.save(written[0])
            draw_comparison(found, written[1])
    if output.as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    elif not output.quiet:
        _show(found)
        if written:
            print(f"written: {', '.join(map(str, written))}")


def _by_folder(paths: list[str]) -> list[str]:
    """The folder's name of every circuit.json, and any other file's own; the whole path where two agree."""
    short = [
        path.resolve().parent.name if path.name == "circuit.json" else path.stem for path in map(Path, paths)
    ]
    counts = Counter(short)
    return [name if name and counts[name] == 1 else path for name, path in zip(short, paths, strict=True)]


def _show(comparison: Comparison) -> None:
    from kcircuits.cli.console import WIDTH, print_rows
    from kcircuits.display.text import printable

    circuits = comparison.circuits
    names = [printable(circuit.name, 30) for circuit in circuits]
    print_rows(
        f"{len(circuits)} circuits of {printable(comparison.model.get('name', 'a model'), 40)}",
        ["circuit", "domain", "edges", "nodes", "effective edges"],
        [
            [
                name,
                printable(circuit.domain, 20),
                f"{circuit.num_edges:,}",
                f"{circuit.num_nodes:,}",
                "-" if circuit.entropy is None else f"{math.exp(circuit.entropy):,.1f}",
            ]
            for name, circuit in zip(names, circuits, strict=True)
        ],
    )
    pairs = sorted(
        combinations(range(len(circuits)), 2), key=lambda pair: -float(comparison.edge_overlap[pair])
    )
    print_rows(
        "nodes and edges: shared / either",
        ["a, b", "nodes", "edges", "of a's, in b", "of b's, in a"],
        [
            [
                f"{printable(names[a], 24)}, {printable(names[b], 24)}",
                f"{comparison.node_overlap[a, b]:.3f}",
                f"{comparison.edge_overlap[a, b]:.3f}",
                f"{comparison.reverse_overlap[b, a]:.3f}",
                f"{comparison.reverse_overlap[a, b]:.3f}",
            ]
            for a, b in pairs[:_MOST_PAIRS]
        ],
    )
    if len(pairs) > _MOST_PAIRS:
        print(f"of {len(pairs):,} pairs the {_MOST_PAIRS} that share most edges")
    print(fill(_backbone(comparison), WIDTH))
    if comparison.two_hop is not None:
        _show_hops(comparison.two_hop)


def _backbone(comparison: Comparison) -> str:
    shared = comparison.backbone
    shown = ", ".join(node if share == 1 else f"{node} {share:.0%}" for node, share in shared[:_MOST_NODES])
    more = f", and {len(shared) - _MOST_NODES:,} more" if len(shared) > _MOST_NODES else ""
    return (
        f"In at least {comparison.least:.0%} of the circuits, {len(shared):,} heads and MLPs: {shown}{more}"
    )


def _show_hops(hops: TwoHop) -> None:
    from kcircuits.cli.console import print_rows
    from kcircuits.display.text import printable

    parts = [f"of {printable(part, 40)}" for part in hops.parts]
    rows = [
        [what, f"{each.nodes:.3f}", f"{each.edges:.3f}"]
        for what, each in zip([*parts, "of both"], [*hops.of_parts, hops.of_both], strict=True)
    ]
    if hops.random:
        count = len(hops.random)
        columns = [[getattr(each, level) for each in hops.random] for level in ("nodes", "edges")]
        rows.append(
            [
                f"of both, {count} random circuits of its size",
                *(f"{sum(values) / count:.3f} [{min(values):.3f}, {max(values):.3f}]" for values in columns),
            ]
        )
        rows.append(["p", *(f"{hops.p_value(level):.3f}" for level in ("nodes", "edges"))])
    print_rows(f"what {printable(hops.whole, 40)} contains", ["", "nodes", "edges"], rows)
