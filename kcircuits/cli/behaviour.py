"""`kcircuits behaviour`: readings of one kind of behaviour each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Literal

import typer

from kcircuits.cli.groups import add
from kcircuits.cli.options import ModelSource, Running
from kcircuits.cli.readings import ReadingOptions, ReadingOutput
from kcircuits.cli.roles import RoleOptions
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.runtime.option_fields import Options, option
from kcircuits.scores.selection_options import Selection
from kcircuits.task import PromptChoice, TaskOptions

if TYPE_CHECKING:
    from kcircuits.analysis.hallucination.results import Hallucination, Hallucinations
    from kcircuits.analysis.in_context.results import InContext

GradientMethod = Literal["eap", "eap-ig-inputs", "eap-ig-activations", "relp"]
Uncorrupted = Literal["zero", "mean", "mean-positional"]
_MOST_ROWS = 15

app = typer.Typer(help="Read what happens in a model that errs, or that learns from examples.")


@dataclass(frozen=True)
class ErrorOptions(Options):
    """Which wrong answers count as errors."""

    title: ClassVar[str] = "Hallucination"

    rank_limit: int | None = option(
        None,
        help="Leave out prompts whose right answer has a rank above N, as the model does not know it.",
        metavar="N",
        least=1,
    )


def hallucination(asked: ReadingOptions, options: ErrorOptions) -> None:
    """Find where wrong answers overtake the right ones, and which heads and MLPs decide it.

    The wrong answer is the prompt's own (--wrong), or the model's most likely token.
    """
    loaded = asked.load()
    from kcircuits.analysis.hallucination.plot import draw_hallucinations
    from kcircuits.analysis.hallucination.reading import hallucinations

    found = hallucinations(loaded.model, loaded.task, rank_limit=options.rank_limit, memory=asked.run.memory)
    recorded = asked.with_input(found, loaded, rank_limit=options.rank_limit)
    asked.output.finish("hallucination", recorded, loaded.folder, draw_hallucinations, _show_errors)


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
        f"nodes that decide; the wrong answer overtakes for good after layer {layer:g} (median)",
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


@dataclass(frozen=True)
class Questions(Options):
    """The relation whose facts are asked about."""

    title: ClassVar[str] = "Prompts"

    relation: str = option(like=(PromptChoice, "relation"))
    template: int | None = option(None, like=(PromptChoice, "template"))
    limit: int | None = option(None, like=(PromptChoice, "limit"))
    shuffle_seed: int | None = option(None, like=(PromptChoice, "shuffle_seed"))
    shots: int = option(5, help="Number of examples in a prompt.", metavar="K", least=1)

    @property
    def choice(self) -> PromptChoice:
        """The questions without examples."""
        return PromptChoice(
            relation=self.relation,
            template=self.template,
            limit=self.limit,
            shuffle_seed=self.shuffle_seed,
        )


@dataclass(frozen=True)
class LearningOptions(Options):
    """How both circuits are found and what they are compared with."""

    title: ClassVar[str] = "In-context learning"

    method: GradientMethod = option("eap-ig-inputs", help="Method of discovery.")
    top_n: int = option(300, like=(Selection, "top_n"), least=1)
    ablation: Uncorrupted = option("mean", like=(TaskOptions, "ablation"), default_text=None)
    draws: int = option(10, like=(RoleOptions, "draws"))
    seed: int = option(0, like=(EdgePruning, "seed"), least=0)


def in_context(
    model: ModelSource,
    questions: Questions,
    options: LearningOptions,
    run: Running,
    output: ReadingOutput,
) -> None:
    """Compare a relation's questions without and with examples: which heads a circuit gains.

    Examples are other facts of the relation that share no object with the question.
    """
    from kcircuits.data.relations import load_relation

    relation = load_relation(questions.relation)
    from kcircuits.analysis.in_context.plot import draw_in_context
    from kcircuits.analysis.in_context.reading import in_context_learning
    from kcircuits.cli.setup import input_settings, load
    from kcircuits.data.few_shot import few_shot_pairs
    from kcircuits.discovery import method_of

    output.check_pictures()
    loaded = load(model, run)
    folder = output.make_folder()
    pairs = few_shot_pairs(
        relation,
        loaded.tokenizer,
        loaded.spec.vocab_size,
        loaded.spec.max_positions,
        shots=questions.shots,
        template=questions.template or 0,
        limit=questions.limit,
        shuffle_seed=questions.shuffle_seed,
        seed=options.seed,
    )
    found = in_context_learning(
        loaded,
        pairs,
        method_of(options.method, {}),
        selection=Selection(top_n=options.top_n),
        ablation=options.ablation,
        draws=options.draws,
        seed=options.seed,
        memory=run.memory,
    )
    settings = input_settings(model, questions.choice, shots=questions.shots)
    found = replace(found, settings=found.settings | settings)
    output.finish("icl", found, folder, draw_in_context, _show_added)


add(app, "hallucination", hallucination)
add(app, "icl", in_context)


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
