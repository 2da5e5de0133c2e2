"""`kcircuits roles`: movers, relation heads, mixtures, and the MLPs that raise the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kcircuits.cli.readings import CircuitReadingOptions
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.analysis.roles.results import Roles

_MOST_ROWS = 20


@dataclass(frozen=True)
class RoleOptions(Options):
    """What is read and compared."""

    title: ClassVar[str] = "Roles"

    strongest: int | None = option(
        None,
        help="Read only the N heads that write most to the answer.",
        metavar="N",
        least=1,
        default_text="those of the circuit, or 20",
    )
    draws: int = option(
        10,
        help="Number of random sets of heads to compare with.",
        metavar="N",
        flag="--random",
        least=1,
    )
    seed: int = option(0, like=(EdgePruning, "seed"), least=0)


def command(asked: CircuitReadingOptions, options: RoleOptions) -> None:
    """Distinguish heads that carry the subject's attribute from heads that carry the relation's."""
    loaded = asked.load(ablates=True)
    from kcircuits.analysis.roles.plot import draw_roles
    from kcircuits.analysis.roles.reading import head_roles

    found = head_roles(
        loaded.model,
        loaded.task,
        loaded.circuit,
        strongest=options.strongest,
        draws=options.draws,
        seed=options.seed,
        memory=asked.run.memory,
    )
    recorded = asked.with_input(found, loaded, strongest=options.strongest)
    asked.output.finish("roles", recorded, loaded.folder, draw_roles, _show)


def _show(roles: Roles) -> None:
    from kcircuits.cli.console import print_rows

    documents = [head.to_json() for head in roles.heads]
    print_rows(
        f"written to the answer's logit, means over prompts: {roles.settings['num_prompts']}",
        ("head", "role", "subject", "relation", "ratio", "95 % interval"),
        [
            (
                head["node"],
                head["role"],
                f"{head['subject_write']:+.3f}",
                f"{head['relation_write']:+.3f}",
                f"{head['ratio']:.3g}",
                f"{head['low']:.3g} to {head['high']:.3g}",
            )
            for head in documents[:_MOST_ROWS]
        ],
    )
    print_rows(
        "MLPs that raise the answer",
        ("MLP", "logit", "95 % interval"),
        [
            (mlp.node, f"{mlp.logit:+.3f}", f"{mlp.low:+.3f} to {mlp.high:+.3f}")
            for mlp in roles.mlps[:_MOST_ROWS]
        ],
    )
    full = roles.full
    rows = [("nothing", "", f"{full.metric:.4f}", f"{full.accuracy:.1%}", "", "")]
    for ablation in roles.ablations:
        means = ablation.means
        low, mean, high = ablation.random["metric"]
        rows.append(
            (
                f"{ablation.name} heads",
                str(len(ablation.heads)),
                f"{means.metric:.4f}",
                f"{means.accuracy:.1%}",
                f"{mean:.4f} ({low:.4f} to {high:.4f})",
                f"{ablation.random['accuracy'][1]:.1%}",
            )
        )
    head = ("without", "heads", "nll", "accuracy", "without random heads: nll", "accuracy")
    print_rows(f"{roles.settings['ablation']} ablation", head, rows)
