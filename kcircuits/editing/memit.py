"""MEMIT (arXiv 2210.07229): a value for each fact at the last of several layers, spread over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kcircuits.editing.delta import Delta, LowRank, add_to_matrix, matrix_name
from kcircuits.editing.rank_one import batch_update
from kcircuits.editing.stream import finish_layer, pad_right, run_layers, run_to_mlp
from kcircuits.editing.tokenise import TokenisedEdit
from kcircuits.editing.values import AT_ONCE, Values
from kcircuits.model.spec import ModelSpec


def spread_values(
    spec: ModelSpec,
    edits: Sequence[TokenisedEdit],
    values: Values,
    layers: Sequence[int],
    moment: Callable[[int], Tensor],
    weight: float,
) -> Delta:
    """Write values over layers from the lowest up. Each layer takes an equal share of what is still missing.

    Parameters
    ----------
    spec, edits
        The original model, and E edits.
    values
        Values of the edits at the last layer.
    layers
        The layers, in rising order.
    moment
        Returns C [F, F] of a layer.
    weight
        λ of `batch_update`.
    """
    last = layers[-1]
    wanted = states(spec, edits, last, last)[1] + values.delta
    edited, parts = spec, dict[str, LowRank | Tensor]()
    for number, layer in enumerate(layers):
        keys, present = states(edited, edits, layer, last)
        share = (wanted - present) / (len(layers) - number)
        parts[matrix_name(layer)] = batch_update(keys, share, moment(layer), weight)
        edited = add_to_matrix(edited, matrix_name(layer), parts[matrix_name(layer)])
    return Delta(parts)


@torch.no_grad()
def states(spec: ModelSpec, edits: Sequence[TokenisedEdit], layer: int, last: int) -> tuple[Tensor, Tensor]:
    """Means over each edit's prefixed prompts, at the subject's last token.

    Returns
    -------
    tuple of Tensor
        The key of w_down at `layer`, [E, F], and the stream after layer `last`, [E, D].
    """
    prompts = [
        (number, each) for number, edit in enumerate(edits) for each in edit.prefixed or (edit.prompt,)
    ]
    at_once = max(1, AT_ONCE // max(len(each.ids) for _, each in prompts))
    keys, streams = [], []
    for first in range(0, len(prompts), at_once):
        some = [each for _, each in prompts[first : first + at_once]]
        tokens = pad_right([each.ids for each in some], spec.unembedding.device)
        before = run_to_mlp(spec, tokens, layer)
        stream = run_layers(spec, finish_layer(spec, before, layer), tokens, layer + 1, last + 1)
        rows, places = torch.arange(len(some)), torch.tensor([each.subject_last for each in some])
        keys.append(before.hidden[rows, places])
        streams.append(stream[rows, places])
    owner = torch.tensor([number for number, _ in prompts], device=streams[0].device)
    counts = torch.bincount(owner, minlength=len(edits))[:, None]

    def mean(parts: list[Tensor]) -> Tensor:
        rows = torch.cat(parts)
        return rows.new_zeros(len(edits), rows.shape[1]).index_add_(0, owner, rows) / counts

    return mean(keys), mean(streams)
