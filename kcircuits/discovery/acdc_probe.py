"""How long an ACDC search will take: its beginning is run, and the rest is simulated from what was seen.

What a search costs depends on how many edges it keeps: a head or MLP without a kept outgoing edge is removed
without a test. So the rest is simulated receiver by receiver. Senders of the edges kept so far are tested for
certain; every receiver that is tested keeps as many edges, from as far back, as one that the probe has seen.
Each simulation draws its receivers and its batches from the probe's own, with replacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.discovery.method import Forecast
from kcircuits.graph import Graph
from kcircuits.graph.paths import shaping_table
from kcircuits.model.devices import tensors_of

if TYPE_CHECKING:
    from torch import Tensor

    from kcircuits.engine import Engine
    from kcircuits.model.spec import ModelSpec

PROBE_SECONDS = 5.0
SIMULATIONS = 100
SPEED_VARIATION = 0.1
"""By how much the speed of a search differs from the probe's: one standard deviation, as a share."""

FEW_MLPS, FEW_ATTENTION = (1, 2, 3), (0, 0, 0, 0, 0, 0, 1, 2)
"""Edges kept by receivers of small circuits, which are added to those that the probe has seen."""

CENTRAL = (0.1, 0.9)
"""The quantiles between which the forecast's range lies."""


class _Stopped(Exception):
    """The probe's time is over."""


class _Watch:
    """What the engine tells: the layer, tests and seconds of every batch, and its state when stopped."""

    def __init__(self, seconds: float) -> None:
        self.start = self.last = perf_counter()
        self.stop = self.start + seconds
        self.batches: list[tuple[int, int, float]] = []
        self.tests = 0
        self.state: Mapping[str, Tensor] | None = None

    @property
    def seconds(self) -> float:
        """How long the search has run."""
        return self.last - self.start

    @property
    def snapshot(self) -> None:
        """The probe always starts at the beginning."""

    def due(self) -> bool:
        """Only the state at the end counts, which the engine gives when it is stopped."""
        return False

    def keep(self, snapshot: Mapping[str, Tensor]) -> None:
        """Keep that state."""
        self.state = snapshot

    def report(self, done: Any) -> None:
        """Count a batch; stop when the time is over."""
        now = perf_counter()
        self.batches.append((done.layer, done.tests - self.tests, now - self.last))
        self.last, self.tests = now, done.tests
        if now >= self.stop:
            raise _Stopped


def probe_search(
    engine: Engine,
    weights: np.ndarray,
    threshold: float,
    absolute: bool,
    memory: int,
    seconds: float = PROBE_SECONDS,
) -> Forecast:
    """Run a search for so many seconds, and forecast how long all of it takes.

    `weights`: those that a test of each layer goes through (`weights_passed`), which its time follows.
    """
    watch = _Watch(seconds)
    try:
        engine.acdc(threshold, absolute=absolute, memory=memory, progress=watch.report, checkpoint=watch)
    except _Stopped:
        assert watch.state is not None
        return _simulate(engine.graph, weights, watch)
    took = perf_counter() - watch.start
    spread = SPEED_VARIATION * took
    return Forecast(took, took - spread, took + spread, finished=True)


@dataclass(frozen=True)
class _Seen:
    """What the probe has seen of receivers that it has settled.

    Parameters
    ----------
    mlps, attention
        Edges kept by each MLP that was tested, and by each query, key or value.
    places
        Where the senders of kept edges are among the senders of their receivers, from 0 to 1.
    """

    mlps: np.ndarray
    attention: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, graph: Graph, kept: np.ndarray, layer: int) -> _Seen:
        """Of the receivers above a layer; `kept` are the edges kept there, bool [S, R]."""
        tested = np.asarray((shaping_table(graph) & kept.any(axis=1)).any(axis=1))
        counts: dict[str, list[int]] = {"mlp": [], "attention": []}
        for index, reader in enumerate(graph.readers):
            if reader.layer is not None and reader.layer > layer and tested[index]:
                kind = "mlp" if reader.kind == "mlp" else "attention"
                counts[kind].append(int(kept[:, index].sum()))
        senders, receivers = np.nonzero(kept)
        mlps = [*counts["mlp"], *FEW_MLPS]
        attention = [*counts["attention"], *FEW_ATTENTION]
        places = senders / graph.num_senders_of[receivers] if len(senders) else np.zeros(1)
        return cls(np.array(mlps), np.array(attention), places)

    def resample(self, rng: np.random.Generator) -> _Seen:
        """As many of each, drawn with replacement."""
        return _Seen(*(rng.choice(each, len(each)) for each in (self.mlps, self.attention, self.places)))


@dataclass(frozen=True)
class _Readers:
    """Receivers of every layer, as indices, and which senders each shapes, bool [R, S]."""

    mlps: list[np.ndarray]
    attention: list[np.ndarray]
    into: np.ndarray

    @classmethod
    def of(cls, graph: Graph) -> _Readers:
        """Those of a graph."""
        layers = np.array([-1 if each.layer is None else each.layer for each in graph.readers])
        is_mlp = np.array([each.kind == "mlp" for each in graph.readers])
        mlps, attention = (
            [np.flatnonzero((layers == at) & kind) for at in range(graph.num_layers)]
            for kind in (is_mlp, ~is_mlp)
        )
        return cls(mlps, attention, shaping_table(graph))


@dataclass(frozen=True)
class _Cost:
    """What one simulation reckons with."""

    speed: _Speed
    weights: np.ndarray
    rng: np.random.Generator


def _simulate(graph: Graph, weights: np.ndarray, watch: _Watch) -> Forecast:
    assert watch.state is not None
    kept = np.zeros((len(graph.receivers), len(graph.senders)), dtype=bool)
    kept.flat[watch.state["kept_edges"].numpy()] = True
    layer = min(int(watch.state["counts"][0]), graph.num_layers - 1)
    seen = _Seen.of(graph, kept.T, layer)
    sends = np.asarray(kept.any(axis=0))
    readers = _Readers.of(graph)
    batches = np.array(watch.batches[1:] or watch.batches)  # the first is slower
    rng = np.random.default_rng(0)
    rows = max(1.0, float(batches[:, 1].mean()))
    begun = batches[batches[:, 0] == layer][:, 2].sum()  # of a layer that is simulated as a whole
    times = []
    for _ in range(SIMULATIONS):
        speed = _Speed.fit(batches[rng.integers(len(batches), size=len(batches))], weights, rows)
        rest = _simulate_rest(graph, readers, sends, layer, seen.resample(rng), _Cost(speed, weights, rng))
        whole = watch.seconds + max(0.0, rest - begun)
        times.append(whole * np.exp(SPEED_VARIATION * rng.standard_normal()))
    low, high = np.quantile(times, CENTRAL)
    return Forecast(float(np.median(times)), float(low), float(high), finished=False)


def weights_passed(spec: ModelSpec) -> np.ndarray:
    """How many weights a test of each layer goes through, and at the end one of `logits`, [L + 1]."""
    layers = [sum(tensor.numel() for tensor in tensors_of(layer)) for layer in spec.layers]
    above = np.cumsum([0, *reversed(layers)])[::-1]
    passed: np.ndarray = above + sum(tensor.numel() for tensor in tensors_of(spec.unembedding))
    return passed


@dataclass(frozen=True)
class _Speed:
    """Seconds of a batch and of a test, for every weight that they go through."""

    of_batch: float
    of_test: float
    rows: float

    @classmethod
    def fit(cls, batches: np.ndarray, weights: np.ndarray, rows: float) -> _Speed:
        """The least squares of batches' seconds, [N, (layer, tests, seconds)]; neither part is negative."""
        passed = weights[batches[:, 0].astype(int)]
        parts = np.stack([passed, passed * batches[:, 1]], axis=1)
        found = np.linalg.lstsq(parts, batches[:, 2], rcond=None)[0]
        if (found < 0).any():
            found = np.array([0.0, batches[:, 2].sum() / max(1.0, parts[:, 1].sum())])
        return cls(float(found[0]), float(found[1]), rows)

    def seconds(self, tests: int, passed: float) -> float:
        """Of tests that go in batches of their own, through so many weights."""
        return passed * (self.of_batch * float(np.ceil(tests / self.rows)) + self.of_test * tests)


def _simulate_rest(
    graph: Graph, readers: _Readers, sends: np.ndarray, layer: int, seen: _Seen, cost: _Cost
) -> float:
    """Seconds of all receivers from a layer down; `sends` are the senders of the edges kept above."""
    sends = sends.copy()
    total = 0.0
    for at in range(layer, -1, -1):
        for counts, all_of_kind in ((seen.mlps, readers.mlps[at]), (seen.attention, readers.attention[at])):
            alive = all_of_kind[(readers.into[all_of_kind] & sends).any(axis=1)]
            if not len(alive):
                continue
            keeps = cost.rng.choice(counts, len(alive))
            tested = alive
            if counts is seen.attention:
                total += cost.speed.seconds(len(alive), cost.weights[at])
                tested = alive[keeps > 0]
            total += cost.speed.seconds(int(graph.num_senders_of[tested].sum()), cost.weights[at])
            numbers = np.repeat(graph.num_senders_of[alive], keeps)
            sends[(cost.rng.choice(seen.places, len(numbers)) * numbers).astype(int)] = True
    return total
