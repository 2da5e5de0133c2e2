"""The tables of `kcircuits evaluate`, for a terminal of 100 columns."""

from __future__ import annotations

from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kcircuits.cli.console import table_console
from kcircuits.cli.measured import Measured
from kcircuits.evaluation import Evaluation, Interval, Minimality, RunMeasures, SizeCurve
from kcircuits.evaluation.minimality import REDUNDANT_SHARE


def print_tables(measured: Measured, halves: dict[str, Measured]) -> None:
    """Print all that was measured on stdout, or the same for each half where there are halves."""
    console = table_console()
    for name, half in halves.items():
        console.print(f"{name} half", style="bold")
        _print(console, half)
    if not halves:
        _print(console, measured)
    for name, areas in (measured.ranking or {}).items():
        edges, nodes = (_number(areas[level], ".3f") for level in ("edge_auc", "node_auc"))
        console.print(f"Against the reference, the {name}: AUC of edges {edges}, of nodes {nodes}")


def _print(console: Console, measured: Measured) -> None:
    if measured.evaluation is not None:
        console.print(_runs(measured.evaluation))
        console.print(_comparison(measured.evaluation))
    if measured.minimality is not None:
        console.print(_worth(measured.minimality, measured.metric), markup=False)
    if measured.curve is not None:
        console.print(_sizes(measured, measured.curve))
        console.print(_areas(measured.curve, measured.random_curve))


def _runs(evaluation: Evaluation) -> Table:
    size = f"{evaluation.num_edges:,} of {evaluation.num_graph_edges:,} edges, {evaluation.num_nodes:,} nodes"
    title = f"{size}; prompts: {evaluation.num_prompts:,}; {evaluation.ablation} ablation"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for name in ("full model", "circuit", "95 % interval", "without it", "empty circuit"):
        table.add_column(name, justify="right")
    if evaluation.random:
        table.add_column(f"{len(evaluation.random)} random", justify="right")
    measures = {
        "metric": (evaluation.metric, ".4f"),
        "kl": ("KL to full", ".4f"),
        "hit_at_k": (f"Hit@{evaluation.hit_k}", ".3f"),
        "accuracy": ("accuracy", ".3f"),
        "mean_rank": ("mean rank", ",.1f"),
        "probability": ("P(answer)", ".4f"),
    }
    k = evaluation.hit_k
    intervals = evaluation.circuit.intervals(evaluation.weights, k) or {}
    for name, (label, form) in measures.items():
        own = evaluation.circuit.means(k)[name]
        others = [run.means(k)[name] for run in (evaluation.full, evaluation.complement, evaluation.empty)]
        cells = [_number(value, form) for value in (others[0], own, *others[1:])]
        cells.insert(2, _interval(intervals.get(name), form))
        if evaluation.random:
            cells.append(_number(_mean(evaluation.random, k, name), form))
        table.add_row(label, *cells)
    table.add_row(*_faithfulness(evaluation))
    completeness = _number(evaluation.completeness, ".3f")
    table.add_row("completeness", "", completeness, _interval(evaluation.completeness_interval, ".3f"))
    return table


def _mean(runs: tuple[RunMeasures, ...], k: int, name: str) -> float:
    return fmean(run.means(k)[name] for run in runs)


def _faithfulness(evaluation: Evaluation) -> list[str]:
    known = [value for value in evaluation.random_faithfulness if value is not None]
    there = evaluation.faithfulness is not None
    cells = [
        _number(1.0 if there else None, ".3f"),
        _number(evaluation.faithfulness, ".3f"),
        _interval(evaluation.faithfulness_interval, ".3f"),
        _number(evaluation.completeness, ".3f"),
        _number(0.0 if there else None, ".3f"),
    ]
    if evaluation.random:
        cells.append(_number(fmean(known) if known else None, ".3f"))
    return ["faithfulness", *cells]


def _comparison(evaluation: Evaluation) -> str:
    text = "Completeness: the faithfulness of the model without the circuit; 0 if nothing was missed."
    own = evaluation.faithfulness
    if evaluation.p_value is not None and own is not None:
        as_good = sum(value is not None and value >= own for value in evaluation.random_faithfulness)
        text += (
            f"\nOf {len(evaluation.random)} random circuits of the same size {as_good} are as faithful or "
            f"more: {evaluation.p_value_text}"
        )
    return text


def _worth(minimality: Minimality, metric: str) -> str:
    measured = len(minimality.edges)
    sample = "all" if measured == minimality.num_edges else f"{measured:,} of {minimality.num_edges:,}"
    effect, effects = minimality.mean_effect, minimality.mean_effect_interval
    share, shares = minimality.redundant_share, minimality.redundant_interval
    return (
        f"Minimality ({sample} edges): removing one changes {metric} by {effect:+.4f} on average "
        f"{_interval(effects, '+.4f')};\n"
        f"{_number(share, '.3f')} {_interval(shares, '.3f')} of them are redundant: they change it by less "
        f"than {REDUNDANT_SHARE:.0%} of full − empty."
    )


def _sizes(measured: Measured, curve: SizeCurve) -> Table:
    title = f"Circuits of the best scores; prompts: {measured.num_prompts:,}; {measured.ablation} ablation"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("share of edges", "edges", measured.metric, "faithfulness"):
        table.add_column(name, justify="right")
    by_chance: tuple[float | None, ...] | None = None
    if measured.random_curve is not None:
        table.add_column("random circuits", justify="right")
        by_chance = measured.random_curve.faithfulness
    metric = curve.metric.mean(axis=1)
    for index, fraction in enumerate(curve.fractions):
        cells = [f"{fraction:g}", f"{curve.num_edges[index]:,}", f"{metric[index]:.4f}"]
        cells.append(_number(curve.faithfulness[index], ".3f"))
        if by_chance is not None:
            cells.append(_number(by_chance[index], ".3f"))
        table.add_row(*cells)
    return table


def _areas(curve: SizeCurve, by_chance: SizeCurve | None) -> str:
    text = f"CPR {_number(curve.cpr, '.4f')} (greater is better), CMD {_number(curve.cmd, '.4f')} (less is)"
    if by_chance is None:
        return text
    return f"{text}; random circuits: {_number(by_chance.cpr, '.4f')}, {_number(by_chance.cmd, '.4f')}"


def _number(value: float | None, form: str) -> str:
    if value is None:
        return "-"
    text = format(value, form)
    return text if text.strip("-0.") else text.lstrip("-")  # no negative zero


def _interval(interval: Interval | None, form: str) -> str:
    return "-" if interval is None else f"[{_number(interval.low, form)}, {_number(interval.high, form)}]"
