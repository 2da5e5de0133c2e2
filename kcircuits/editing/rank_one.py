"""Closed-form updates of w_down for ROME and MEMIT.

K [F, E] and R [D, E] have one column for each edit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits.editing.delta import LowRank


def rank_one_update(key: Tensor, change: Tensor, moment: Tensor) -> LowRank:
    """ROME's W + Λ (C⁻¹k)ᵀ (arXiv 2202.05262, equation 2): W'k = Wk + change, least change of other keys.

    Parameters
    ----------
    key, change
        k [F] and v* − Wk [D].
    moment
        C, float [F, F], positive definite.

    Returns
    -------
    LowRank
        (v* − Wk) (C⁻¹k)ᵀ / (kᵀ C⁻¹ k), computed in float64 and returned in float32.
    """
    k, c = key.double(), moment.double()
    direction = torch.linalg.solve(c, k)
    return LowRank(change.float()[:, None], (direction / (k @ direction)).float()[:, None])


def batch_update(keys: Tensor, changes: Tensor, moment: Tensor, weight: float) -> LowRank | Tensor:
    """MEMIT's Δ = R Kᵀ (λC + KKᵀ)⁻¹ (arXiv 2210.07229, equation 14), for any number of edits E.

    Parameters
    ----------
    keys, changes
        K [E, F] and R [E, D], one row for each edit.
    moment
        C, float [F, F], positive definite.
    weight
        λ: weight of the old keys relative to the new ones.

    Returns
    -------
    LowRank or Tensor
        A product if E is less than F, otherwise a matrix [D, F]; computed in float64, returned in float32.
    """
    k, c = keys.double(), weight * moment.double()
    right = torch.linalg.solve(c + k.T @ k, k.T)  # [F, E]
    if len(keys) < keys.shape[1]:
        return LowRank(changes.float().T.contiguous(), right.float())
    return (changes.double().T @ right.T).float()
