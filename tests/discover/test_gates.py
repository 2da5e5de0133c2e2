"""Hard-concrete gates: their distribution and their slopes."""

from __future__ import annotations

import pytest
import torch

from kcircuits.discovery import gates


def drawn(log_alpha: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return gates.sample(log_alpha, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("log_alpha", [-4.0, -1.0, 0.0, 0.5, 3.0])
def test_probability_open_is_the_share_of_open_gates(log_alpha):
    draws = 200_000
    values = torch.full((draws,), log_alpha)
    share = (drawn(values) > 0).double().mean().item()
    expected = gates.probability_open(torch.tensor(log_alpha)).item()
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / draws) ** 0.5)


def test_gates_reach_both_ends_and_lie_between():
    values = drawn(torch.zeros(10_000))
    assert values.min() == 0
    assert values.max() == 1
    assert ((values > 0) & (values < 1)).any()


def test_slopes_are_those_of_finite_differences():
    log_alpha = torch.linspace(-3, 3, 40, dtype=torch.float64, requires_grad=True)
    values = drawn(log_alpha)
    assert (values == 0).any() and (values == 1).any()
    assert torch.autograd.gradcheck(drawn, (log_alpha,))
    assert torch.autograd.gradcheck(gates.probability_open, (log_alpha,))


def test_the_generator_decides():
    log_alpha = torch.zeros(50)
    assert torch.equal(drawn(log_alpha, 1), drawn(log_alpha, 1))
    assert not torch.equal(drawn(log_alpha, 1), drawn(log_alpha, 2))
