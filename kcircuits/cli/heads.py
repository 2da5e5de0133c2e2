"""`kcircuits heads`: what heads and MLPs write, where heads look, and what feeds them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from kcircuits.cli.readings import CircuitReadingOptions
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.analysis.heads.results import HeadReadings, NodeReading

_MOST_ROWS = 20
_MOST_EDGES = 20
_TOP = 4


@dataclass(frozen=True)
class HeadOptions(Options):
    """What is read."""

    title: ClassVar[str] = "Heads"

    nodes: tuple[str, ...] | None = option(
        None,
        help="Heads and MLPs to read, such as a3.h1,m4.",
        metavar="A,B,…",
        default_text="those of the circuit, or without one the 20 strongest",
    )
    strongest: int | None = option(
        None, help="Read only the N nodes that write most to the answer.", metavar="N", least=1
    )
    into: str | None = option(
        None, help="List the senders of this node of the circuit, or of `logits`.", metavar="NODE"
    )
    top: int = option(10, help="Number of tokens to list that a node raises.", metavar="K", least=1)
    all_positions: bool = option(
        False, help="Read all positions, not only the last one and the subject's last."
    )


def command(asked: CircuitReadingOptions, options: HeadOptions) -> None:
    """Read heads and MLPs: what they write to the answer, which tokens they raise, what heads attend to."""
    loaded = asked.load()
    from kcircuits.analysis.heads.plot import draw_heads
    from kcircuits.analysis.heads.reading import read_heads

    found = read_heads(
        loaded.model,
        loaded.task,
        loaded.circuit,
        nodes=options.nodes,
        into=options.into,
        strongest=options.strongest,
        top=options.top,
        all_positions=options.all_positions,
        memory=asked.run.memory,
    )
    nodes = None if options.nodes is None else ",".join(options.nodes)
    recorded = asked.with_input(found, loaded, nodes=nodes, strongest=options.strongest, into=options.into)
    asked.output.finish("heads", recorded, loaded.folder, draw_heads, _show)


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
