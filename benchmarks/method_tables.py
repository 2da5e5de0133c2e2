"""Tables of docs/methods.md, from the results of bench_eap.py and method_agreement.py."""

from __future__ import annotations

from typing import Any

Row = tuple[str, ...]
SHARES = ("1%", "2%", "5%", "10%", "20%", "50%")
GRAPHS = {
    ("SmolLM2-135M", "uniform"): "SmolLM2, uniform",
    ("SmolLM2-135M", "top 10 %"): "SmolLM2, top 10 %",
    ("gpt2", "all"): "gpt2",
    ("llama", "all"): "llama",
    ("llama_gqa", "all"): "llama_gqa",
}


def costs(results: dict[str, Any]) -> tuple[Row, list[Row]]:
    """Time and memory of every method, compared with plain passes."""
    return ("method", "seconds", "× plain pass", "× to embeddings", "extra memory"), [
        (
            f"`{row['method'].replace('+qk_fix', ' --qk-fix')}`" + (row["note"] and f", {row['note']}"),
            *(_number(row[name]) for name in ("seconds", "ratio", "ratio_to_embeddings")),
            f"{row['extra_memory_mb']:,} MB",
        )
        for row in results["rows"]
    ]


def agreement(results: dict[str, Any]) -> tuple[Row, list[Row]]:
    """Rank correlation, overlap and signs of every method and graph, compared with exact effects."""
    found = {(row["model"], row["edges"], row["method"]): row for row in results["rows"]}
    methods = dict.fromkeys(row["method"] for row in results["rows"])
    return ("method", *GRAPHS.values()), [
        (f"`{method}`", *(_agreement(found.get((*graph, method))) for graph in GRAPHS)) for method in methods
    ]


def faithfulness(results: dict[str, Any]) -> tuple[Row, list[Row]]:
    """Faithfulness of the best edges of every method, over sizes."""
    return ("method", *(share.replace("%", " %") for share in SHARES)), [
        (f"`{row['method']}`", *(f"{round(row[share], 2) + 0.0:.2f}" for share in SHARES))  # no -0.00
        for row in results["faithfulness"]
    ]


def _agreement(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    values = (row[name] for name in ("spearman_absolute", "overlap", "sign_top"))
    return " / ".join("-" if value is None else f"{value:.2f}" for value in values)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 30 else f"{value:.2f}"


TABLES = {
    "costs": ("eap.json", costs),
    "agreement": ("methods.json", agreement),
    "faithfulness": ("methods.json", faithfulness),
}
