"""`kcircuits behaviour`: readings of one kind of behaviour each."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import typer

from kcircuits.cli.readings import Asked, reads_without

if TYPE_CHECKING:
    from kcircuits.analysis.hallucination_results import Hallucination, Hallucinations

_MOST_ROWS = 15

app = typer.Typer(help="What happens in a model when it errs, or learns from examples.")


@app.command("hallucination")
@reads_without("circuit", "ablation", "reference_prompts")
def hallucination(asked: Asked) -> None:
    """Find where wrong answers overtake the right ones, and which heads and MLPs decide it.

    The wrong answer is the prompt's own (--wrong), or the model's most likely token.
    """
    loaded = asked.load()
    from kcircuits.analysis.hallucination import hallucinations
    from kcircuits.report.hallucination_plot import draw_hallucinations

    found = hallucinations(loaded.model, loaded.prompts, memory=asked.memory)
    asked.finish("hallucination", asked.recorded(found), loaded, draw_hallucinations, _show_errors)


def _show_errors(found: Hallucinations) -> None:
    from kcircuits.cli.console import print_rows
    from kcircuits.report.text import printable

    print_rows(
        f"errors: {len(found.errors)} of {found.settings['num_prompts']} prompts",
        ("about", "answer", "wrong", "overtakes", "best rank", "behind", "strongest node"),
        [
            (
                printable(_about(error), 30),
                printable(error.text.answer, 12),
                printable(error.text.wrong, 12),
                f"layer {error.overtakes}",
                f"{error.right.rank[error.best_layer]:,.0f}",
                f"layer {error.best_layer}",
                f"{error.nodes[0].node} {error.nodes[0].difference:+.2f}",
            )
            for error in found.errors[:_MOST_ROWS]
        ],
    )
    layer = median(error.overtakes for error in found.errors)
    print_rows(
        f"nodes that decide; the wrong answer overtakes for good behind layer {layer:g} (median)",
        ("node", "errors with it in the top 10", "logit, wrong above right", "share"),
        [
            (node.node, str(node.errors), f"{node.difference:+.3f}", f"{node.share:+.1%}")
            for node in found.recurring[:_MOST_ROWS]
        ],
    )


def _about(error: Hallucination) -> str:
    """The subject, or the end of the prompt."""
    tokens = error.text.tokens
    return "".join(tokens[slice(*error.text.subject)] if error.text.subject else tokens[-6:]).strip()
