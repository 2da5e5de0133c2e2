"""Logit lens: the residual stream after each layer, read through the final norm and the unembedding."""

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
    """A position, as a row among all tokens of a portion's prompts, and the token to read there."""

    row: int
    target: int


class LayerReadout(NamedTuple):
    """Rank and probability of the targets of n places in M runs after 0 … L layers; float64 [M, L + 1, n]."""

    rank: np.ndarray  # 1 is the most likely; ties get the mean of their ranks
    probability: np.ndarray


def read_layers(
    spec: ModelSpec, engine: Engine, masks: np.ndarray, places: Sequence[Place], memory: int
) -> LayerReadout:
    """Read the streams of M circuits (`Engine.masked_streams`) at some places; masks bool [M, S, R].

    The values after the last layer are the runs' own predictions.
    """
    rows = torch.tensor([place.row for place in places])
    targets = torch.tensor([place.target for place in places])
    streams = engine.masked_streams(masks, rows, memory).to(spec.unembedding.device)
    normed: Tensor = normalise(spec.final_norm, streams)  # [M, L + 1, n, D]
    read = read_answers(spec, normed.flatten(0, 1), targets)
    check_finite("the stream of a run", read.log_sum_exp)
    shape = normed.shape[:3]
    return LayerReadout(read.rank.view(shape).cpu().numpy(), read.probability.view(shape).cpu().numpy())
