"""edge_mix against its reference."""

from __future__ import annotations

import pytest
import torch

from kcircuits.ops import edge_mix, edge_mix_reference


@pytest.mark.parametrize("norm", ["none", "layernorm", "rmsnorm"])
@pytest.mark.parametrize("width", [1, 33, 64, 576])
def test_prefix_masks_match_reference(norm, width):
    torch.manual_seed(0)
    senders = torch.randn(9, 2, 3, width)
    removed = torch.arange(9)[None, :] < torch.arange(8)[:, None]
    mask = ~removed.expand(5, 8, 9)
    weight = None if norm == "none" else torch.randn(width)
    torch.testing.assert_close(
        edge_mix(senders, mask, norm=norm, weight=weight),
        edge_mix_reference(senders, mask, norm=norm, weight=weight),
        atol=1e-4,
        rtol=1e-4,
    )
