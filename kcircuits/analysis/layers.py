"""The logit lens: the residual stream behind every layer, read through final norm and unembedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kcircuits.analysis.prepare import check_finite
from kcircuits.engine import Engine
from kcircuits.evaluation.readout import read_answers
from kcircuits.model.forward import normalise
from kcircuits.model.spec import ModelSpec


class Place(NamedTuple):
    """A token of a portion's prompts, by its row among all of them, and the token that is looked for."""

    row: int
    target: int


class LayerReadout(NamedTuple):
    """What M runs make of the targets of n places behind 0 … L layers; float64 [M, L + 1, n]."""

    rank: np.ndarray  # 1 is the most likely; ties share the middle of their places
    probability: np.ndarray


def read_layers(
    spec: ModelSpec, engine: Engine, masks: np.ndarray, places: Sequence[Place], memory: int
) -> LayerReadout:
    """Read M circuits' streams (`Engine.masked_streams`), masks bool [M, S, R], at some places.

    Behind all layers it is the runs' own prediction.
    """
    rows = torch.tensor([place.row for place in places])
    targets = torch.tensor([place.target for place in places])
    streams = engine.masked_streams(masks, rows, memory).to(spec.unembedding.device)
    normed: Tensor = normalise(spec.final_norm, streams)  # [M, L + 1, n, D]
    read = read_answers(spec, normed.flatten(0, 1), targets)
    check_finite("the stream of a run", read.log_sum_exp)
    shape = normed.shape[:3]
    return LayerReadout(read.rank.view(shape).cpu().numpy(), read.probability.view(shape).cpu().numpy())
