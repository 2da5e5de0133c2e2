"""How good the circuit is: its measures beside those of the full model and of random circuits."""

from __future__ import annotations

from statistics import fmean

from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import interval, number
from kcircuits.evaluation import Evaluation

_MEASURES = {
    "metric": ".4f",
    "kl": ".4f",
    "hit_at_k": ".3f",
    "accuracy": ".3f",
    "mean_rank": ",.1f",
    "probability": ".4f",
}


def evaluation_section(evaluation: Evaluation) -> Html:
    """The section about the circuit's measures."""
    return section(
        "evaluation",
        "Evaluation",
        tag("p", _summary(evaluation)),
        _ratios(evaluation),
        _runs(evaluation),
    )


def _summary(evaluation: Evaluation) -> str:
    count = evaluation.num_prompts
    text = (
        f"Measured on {count:,} prompt{'s' if count != 1 else ''} with {evaluation.ablation} ablation. "
        "Faithfulness is 1 where the circuit is as good as the full model and 0 where it is as bad as no "
        "edges at all; completeness is the faithfulness of what the circuit leaves out."
    )
    if evaluation.p_value is not None:
        text += (
            f" Of {len(evaluation.random)} random connected circuits of its size "
            f"{_as_good(evaluation)} are as faithful or more: {evaluation.p_value_text}."
        )
    if evaluation.weights is None:
        text += " One prompt gives no confidence intervals."
    return text


def _as_good(evaluation: Evaluation) -> int:
    own = evaluation.faithfulness
    values = evaluation.random_faithfulness
    return sum(value is not None and own is not None and value >= own for value in values)


def _ratios(evaluation: Evaluation) -> Html:
    rows: list[tuple[str, ...]] = [
        ("faithfulness", number(evaluation.faithfulness), interval(evaluation.faithfulness_interval)),
        ("completeness", number(evaluation.completeness), interval(evaluation.completeness_interval)),
    ]
    known = [value for value in evaluation.random_faithfulness if value is not None]
    if known:
        spread = f"{number(min(known))} to {number(max(known))} (lowest and highest)"
        rows.append(("faithfulness of random circuits", number(fmean(known)), spread))
    return table("Faithfulness and completeness", ("", "value", "95 % interval"), rows)


def _runs(evaluation: Evaluation) -> Html:
    k = evaluation.hit_k
    names = {
        "metric": evaluation.metric,
        "kl": "KL to the full model",
        "hit_at_k": f"Hit@{k}",
        "accuracy": "accuracy",
        "mean_rank": "mean rank of the answer",
        "probability": "probability of the answer",
    }
    runs = (evaluation.full, evaluation.circuit, evaluation.complement, evaluation.empty)
    full, own, without, empty = (run.means(k) for run in runs)
    intervals = evaluation.circuit.intervals(evaluation.weights, k) or {}
    chance = [run.means(k) for run in evaluation.random]
    rows = []
    for name, form in _MEASURES.items():
        cells = [
            number(full[name], form),
            number(own[name], form),
            interval(intervals.get(name), form),
            number(without[name], form),
            number(empty[name], form),
        ]
        if chance:
            cells.append(number(fmean(each[name] for each in chance), form))
        rows.append((names[name], *cells))
    head = ["", "full model", "circuit", "95 % interval", "without the circuit", "no edges"]
    return table("Measures, means over prompts", head + (["random circuits"] if chance else []), rows)
