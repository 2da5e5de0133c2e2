"""The model without its circuit: what it forgets, and side effects."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

from kcircuits.analysis.knockout.results import OWN, Knockout, PromptsEffect
from kcircuits.display.bars import Bar, grouped_bars
from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import number

_FORMS = {"hit_at_k": ".3f", "mean_rank": ",.1f", "probability": ".4f", "metric": ".3f"}


def knockout_section(found: Knockout) -> Html:
    """The section about a knockout."""
    settings = found.settings
    count = len(found.effects[0].random)
    text = (
        f"{settings['num_removed_edges']:,} of the circuit's {settings['num_circuit_edges']:,} edges are "
        f"removed from the full model ({settings['ablation']} ablation). "
    )
    if count:
        text += (
            f"For comparison, the model without {_circuits(count)} of the same size, which shows the effect "
            "of removing any edges."
        )
    return section(
        "knockout",
        "Without the circuit",
        tag("p", text),
        tag("div", *_charts(found), class_="charts"),
        _table(found, count),
    )


def _charts(found: Knockout) -> list[Html]:
    """Hit@k and NLL on each set of prompts, and the perplexity, with bars on a logarithmic scale."""
    hit = grouped_bars(f"Hit@{found.settings['hit_k']}", _groups(found, "hit_at_k", 1.0))
    most = max(run.mean_metric for effect in found.effects for run in effect.runs)
    charts = [hit, grouped_bars("NLL of the answer", _groups(found, "metric", most or 1.0))]
    if found.text is not None:
        values = list(found.text.runs)
        top = math.log(max(*values, math.e))
        bars = _bars(values, _perplexity, lambda value: math.log(value) / top)
        charts.append(grouped_bars("Perplexity of the text (logarithmic)", [("text", bars)]))
    return charts


def _groups(found: Knockout, measure: str, whole: float) -> list[tuple[str, list[Bar]]]:
    """The bars of a measure on each set of prompts; `whole` is the value of the longest possible bar."""
    groups = []
    for effect in found.effects:
        values = _values(found, effect, measure)
        bars = _bars(values, _formatter(measure), lambda value: value / whole)
        groups.append((_prompts_name(effect.name), bars))
    return groups


def _values(found: Knockout, effect: PromptsEffect, measure: str) -> list[float]:
    """The mean of a measure in the full model, without the circuit, and without each random circuit."""
    return [run.means(found.settings["hit_k"])[measure] for run in effect.runs]


def _bars(values: list[float], shown: Callable[[float], str], length: Callable[[float], float]) -> list[Bar]:
    full, without, *random = values
    bars = [
        Bar("full model", "full", length(full), shown(full)),
        Bar("without the circuit", "without", length(without), shown(without)),
    ]
    if random:
        ends = length(min(random)), length(max(random))
        mean = fmean(random)
        bars.append(Bar("without random circuits", "random", length(mean), shown(mean), ends))
    return bars


def _prompts_name(name: str) -> str:
    """The displayed name of a set of prompts."""
    return "the circuit's prompts" if name == OWN else name


def _circuits(count: int) -> str:
    return "a random connected circuit" if count == 1 else f"{count} random connected circuits"


def _table(found: Knockout, count: int) -> Html:
    titles = {
        "hit_at_k": f"Hit@{found.settings['hit_k']}",
        "mean_rank": "mean rank",
        "probability": "probability",
        "metric": "NLL",
    }
    rows = []
    for effect in found.effects:
        name = f"{_prompts_name(effect.name)} ({len(effect.full.metric):,})"
        for measure, title in titles.items():
            rows.append((name, title, *_cells(_values(found, effect, measure), _formatter(measure))))
    if found.text is not None:
        text = found.text
        name = f"text ({text.num_tokens:,} tokens)"
        rows.append((name, "perplexity", *_cells(list(text.runs), _perplexity)))
    head = ["prompts", "measure", "full model", "without the circuit"]
    head += ["without random circuits"] * bool(count)
    return table("Effects of the knockout", head, rows)


def _cells(values: list[float], shown: Callable[[float], str]) -> list[str]:
    """The full model, without the circuit, and without random circuits (mean and range)."""
    full, without, *random = values
    cells = [shown(full), shown(without)]
    if random:
        spread = f" ({shown(min(random))} to {shown(max(random))})" if len(random) > 1 else ""
        cells.append(shown(fmean(random)) + spread)
    return cells


def _formatter(measure: str) -> Callable[[float], str]:
    form = _FORMS[measure]
    return lambda value: number(value, form)


def _perplexity(value: float) -> str:
    return f"{value:,.1f}" if value < 1e5 else f"{value:.1e}"
