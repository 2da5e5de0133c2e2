"""What `kcircuits edit --explain` writes and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kcircuits.editing.edit import EditedModel
    from kcircuits.editing.explanation import Explanation

MOST_NODES = 10


def explained(edit: EditedModel, top_n: int | None) -> Explanation:
    """Explain the first request of an edit; `top_n` edges of its circuits."""
    from kcircuits.editing.explain import explain_edit
    from kcircuits.scores.selection import Selection

    selection = None if top_n is None else Selection(top_n=top_n, greedy=True)
    return explain_edit(edit, selection=selection)


def save_explanation(explanation: Explanation, folder: Path) -> list[Path]:
    """Write explain.json and explain.svg."""
    from kcircuits.editing.explanation_plot import draw_explanation

    written = [folder / "explain.json", folder / "explain.svg"]
    explanation.save(written[0])
    draw_explanation(explanation, written[1])
    return written


def show_explanation(explanation: Explanation) -> None:
    """Print where the new object comes up, what becomes of the circuit, whose writing changed."""
    from kcircuits.cli.console import print_rows

    text, (before, after) = explanation.prompt, explanation.logits
    print(f"{''.join(text.tokens)} → {text.answer.strip()}, not {str(text.wrong).strip()}")
    print(
        f"rank below 10, and not before: {_behind(explanation.subject_rise)} at the subject's last token, "
        f"{_behind(explanation.last_rise)} at the last position"
    )
    for name, change in (("nodes", explanation.nodes), ("edges", explanation.edges)):
        print(
            f"{name} of the circuit: {len(change.added)} added, {len(change.lost)} lost, "
            f"{len(change.kept)} kept"
        )
    shares = explanation.shares
    if shares is None:
        print("logit(new) − logit(old) does not change")
        return
    rows = [(str(kind), "", f"{100 * share:.1f} %", "") for kind, share in shares.items()]
    strongest = sorted(explanation.changes, key=lambda each: -abs(each.change))[:MOST_NODES]
    rows += [
        (
            each.node,
            f"{each.change:+.3f}",
            f"{100 * each.change / explanation.total:.1f} %",
            f"{each.flow:+.3f}",
        )
        for each in strongest
    ]
    title = f"logit(new) − logit(old): {before:.2f} before, {after:.2f} after; written directly by"
    print_rows(title, ("node", "change", "share", "lost without it"), rows)


def _behind(layer: int | None) -> str:
    return "nowhere" if layer is None else f"after layer {layer}"
