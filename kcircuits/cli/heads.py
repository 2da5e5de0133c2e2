"""`kcircuits heads`: what heads and MLPs write, where heads look, and what feeds them."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from kcircuits.cli.readings import Asked, reads

if TYPE_CHECKING:
    from kcircuits.analysis.heads.results import HeadReadings, NodeReading

_MOST_ROWS = 20
_MOST_EDGES = 20
_TOP = 4


@reads
def command(
    asked: Asked,
    *,
    nodes: Annotated[
        str | None,
        typer.Option(
            "--nodes",
            metavar="A,B,…",
            help="Which, such as a3.h1,m4. [default: the circuit's, or without one the 20 strongest]",
        ),
    ] = None,
    strongest: Annotated[
        int | None,
        typer.Option("--strongest", min=1, metavar="N", help="Only the N that write most to the answer."),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="NODE", help="List what feeds this node of the circuit, or `logits`."),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, metavar="K", help="How many tokens that a node raises.")
    ] = 10,
    all_positions: Annotated[
        bool,
        typer.Option("--all-positions", help="Not only the last, and the subject's last."),
    ] = False,
) -> None:
    """Read heads and MLPs: what they write to the answer, which tokens they raise, where heads look."""
    loaded = asked.load()
    from kcircuits.analysis.heads.plot import draw_heads
    from kcircuits.analysis.heads.reading import read_heads

    found = read_heads(
        loaded.model,
        loaded.task,
        loaded.circuit,
        nodes=None if nodes is None else [name.strip() for name in nodes.split(",")],
        into=into,
        strongest=strongest,
        top=top,
        all_positions=all_positions,
        memory=asked.memory,
    )
    recorded = asked.recorded(found, nodes=nodes, strongest=strongest, into=into)
    asked.finish("heads", recorded, loaded.folder, draw_heads, _show)


def _show(heads: HeadReadings) -> None:
    from kcircuits.cli.console import print_rows

    order = list(heads.at_last_position().values())
    print_rows(
        f"at the last position, means over prompts: {len(heads.prompts)}; {len(order)} nodes were read",
        ("node", "logit", "share", "best rank", "tokens raised most"),
        [_row(of) for of in order[:_MOST_ROWS]],
    )
    if "into" in heads.settings:
        print_rows(
            f"into {heads.settings['into']}: {len(heads.into)} edges",
            ("sender", "receiver", "score"),
            [(edge.sender, edge.receiver, f"{edge.score:+.4f}") for edge in heads.into[:_MOST_EDGES]],
        )


def _row(of: list[NodeReading]) -> tuple[str, ...]:
    logit, share = fmean(each.logit for each in of), fmean(each.share for each in of)
    raised = Counter(token for each in of for token, _ in each.top[:_TOP])
    tokens = " ".join(repr(token) for token, _ in raised.most_common(_TOP))
    return of[0].node, f"{logit:+.3f}", f"{share:+.1%}", f"{min(each.rank for each in of):,}", tokens
