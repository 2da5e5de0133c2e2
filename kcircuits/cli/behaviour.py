"""`kcircuits behaviour`: readings of one kind of behaviour each."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kcircuits.cli.readings import Asked, reads_without

if TYPE_CHECKING:
    from kcircuits.analysis.hallucination.results import Hallucination, Hallucinations
    from kcircuits.analysis.in_context.results import InContext

GradientMethod = Literal["eap", "eap-ig-inputs", "eap-ig-activations", "relp"]
Uncorrupted = Literal["zero", "mean", "mean-positional"]
_MOST_ROWS = 15

app = typer.Typer(help="What happens in a model when it errs, or learns from examples.")


@app.command("hallucination")
@reads_without("circuit", "ablation", "reference_prompts")
def hallucination(
    asked: Asked,
    *,
    rank_limit: Annotated[
        int | None,
        typer.Option(
            "--rank-limit",
            min=1,
            metavar="N",
            help="Leave out prompts whose right answer has a rank above N, as the model does not know it.",
        ),
    ] = None,
) -> None:
    """Find where wrong answers overtake the right ones, and which heads and MLPs decide it.

    The wrong answer is the prompt's own (--wrong), or the model's most likely token.
    """
    loaded = asked.load()
    from kcircuits.analysis.hallucination.plot import draw_hallucinations
    from kcircuits.analysis.hallucination.reading import hallucinations

    found = hallucinations(loaded.model, loaded.task, rank_limit=rank_limit, memory=asked.memory)
    recorded = asked.recorded(found, rank_limit=rank_limit)
    asked.finish("hallucination", recorded, loaded.folder, draw_hallucinations, _show_errors)


def _show_errors(found: Hallucinations) -> None:
    from kcircuits.cli.console import print_rows
    from kcircuits.display.text import printable

    counts = [f"{len(found.errors)} of {found.settings['num_prompts']} prompts"]
    counts += filter(None, (found.left_out, _continuations(found)))
    print_rows(
        f"errors: {'; '.join(counts)}",
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


def _continuations(found: Hallucinations) -> str:
    """How often the model went on with the sentence instead, and by which words."""
    from kcircuits.display.text import printable

    words = found.settings.get("continuations", {})
    if not words:
        return ""
    shown = ", ".join(printable(repr(word), 15) for word in list(words)[:3])
    return f"in {sum(words.values())} more it continues the sentence without answering: {shown}"


def _about(error: Hallucination) -> str:
    """The subject, or the end of the prompt."""
    tokens = error.text.tokens
    return "".join(tokens[slice(*error.text.subject)] if error.text.subject else tokens[-6:]).strip()


@app.command("icl")
@reads_without(
    "circuit", "prompts", "top_k", "prompt", "answer", "corrupt", "wrong", "subject", "first_token", "half",
    "split_seed", "ablation", "reference_prompts",
)  # fmt: skip
def in_context(
    asked: Asked,
    *,
    shots: Annotated[int, typer.Option("--shots", min=1, metavar="K", help="Examples in a prompt.")] = 5,
    method: Annotated[
        GradientMethod, typer.Option("--method", help="How both circuits are found.")
    ] = "eap-ig-inputs",
    top_n: Annotated[int, typer.Option("--top-n", min=1, metavar="N", help="Edges of both circuits.")] = 300,
    ablation: Annotated[
        Uncorrupted, typer.Option("--ablation", help="What absent edges and ablated heads carry.")
    ] = "mean",
    draws: Annotated[
        int, typer.Option("--random", min=1, metavar="N", help="Random sets of heads to compare with.")
    ] = 10,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="S", help="Of the examples and the random heads.")
    ] = 0,
) -> None:
    """Compare a relation's questions without and with examples: which heads a circuit gains.

    Examples are other facts of the relation that share no object with the question.
    """
    from kcircuits.data.relations import check_limit, load_relation

    relation = load_relation(asked.source.relation or "")
    check_limit(asked.source.limit)
    model, folder = asked.load_model(), asked.make_folder()
    from kcircuits.analysis.in_context.plot import draw_in_context
    from kcircuits.analysis.in_context.reading import in_context_learning
    from kcircuits.data.few_shot import few_shot_pairs
    from kcircuits.discovery import method_of
    from kcircuits.scores.selection import Selection

    pairs = few_shot_pairs(
        relation,
        model.tokenizer,
        model.spec.vocab_size,
        model.spec.max_positions,
        shots=shots,
        template=asked.source.template or 0,
        limit=asked.source.limit,
        shuffle_seed=asked.source.shuffle_seed,
        seed=seed,
    )
    found = in_context_learning(
        model,
        pairs,
        method_of(method, {}),
        selection=Selection(top_n=top_n),
        ablation=ablation,
        draws=draws,
        seed=seed,
        memory=asked.memory,
    )
    asked.finish("icl", asked.recorded(found, shots=shots), folder, draw_in_context, _show_added)


def _show_added(found: InContext) -> None:
    from kcircuits.cli.console import print_rows
    from kcircuits.data.few_shot import PARTS

    print_rows(
        f"heads that only the circuit with examples has: {len(found.added)}; their attention from the end",
        ("head", "strength", *PARTS),
        [
            (head.node, f"{head.strength:.4f}", *(f"{head.attention[part]:.0%}" for part in PARTS))
            for head in found.added[:_MOST_ROWS]
        ],
    )
    rows = []
    for name, run in found.runs.items():
        cells = [name, f"{run.accuracy:.1%}"]
        if (ablation := found.ablations[name]) is not None:
            low, mean, high = ablation.random["accuracy"]
            cells += [f"{ablation.means.accuracy:.1%}", f"{mean:.1%} ({low:.1%} to {high:.1%})"]
        rows.append([*cells, *[""] * (4 - len(cells))])
    head = ("questions", "full model", "without added heads", "without random heads")
    settings = found.settings
    print_rows(
        f"accuracy on {settings['num_prompts']} questions; {settings['ablation']} ablation", head, rows
    )
