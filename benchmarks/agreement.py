"""Agreement between two scores of the same edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcircuits.evaluation.rank_correlation import rank_correlation


def agreement(scores: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Compare a method's scores of E edges, [E], with the exact effects, [E].

    Returns
    -------
    dict
        `spearman` of the scores; `spearman_absolute` of their absolute values, which select circuits;
        `overlap`, the share of the top fifth by |exact| that is also in the top fifth by |score|; `sign` and
        `sign_top`, the share of all edges, and of that fifth, whose score has the sign of the exact effect
        (None if the scores have no signs).
    """
    fifth = len(exact) // 5
    top = np.argsort(-np.abs(exact), kind="stable")[:fifth]
    chosen = np.argsort(-np.abs(scores), kind="stable")[:fifth]
    same = np.sign(scores) == np.sign(exact)
    signed = bool((scores < 0).any())
    return {
        "spearman": spearman(scores, exact) if signed else None,
        "spearman_absolute": spearman(np.abs(scores), np.abs(exact)),
        "overlap": round(len(np.intersect1d(top, chosen)) / fifth, 3),
        "sign": round(float(same.mean()), 3) if signed else None,
        "sign_top": round(float(same[top].mean()), 3) if signed else None,
    }


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation, three digits."""
    found = rank_correlation(a, b)
    return None if found is None else round(found, 3)
