"""Names of the metrics, and values derived from them.

For all metrics lower is better. They are computed at the last position of a prompt and averaged over prompts:

* `nll`: −log p(answer)
* `kl`: KL(full model ‖ run) over the vocabulary
* `logit-diff`: −(logit[answer] − logit[wrong])

The compiled engine computes them (`kcircuits.engine.Engine.metric`).
"""

from __future__ import annotations

from typing import Literal

Metric = Literal["nll", "kl", "logit-diff"]

MIB_FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The sizes of MIB's circuit localisation track, as shares of the graph's edges."""

RANDOM_CIRCUITS = 19
"""Random circuits that a circuit is compared with: so many can show p = 0.05, but nothing smaller."""

# A smaller difference between the full model and the empty circuit is within rounding errors of float32.
_SMALLEST_RANGE = 1e-6


def clamp_metric(metric: Metric, value: float) -> float:
    """Set a KL divergence that rounding errors made negative to 0; other metrics are unchanged.

    Results report this value. A search uses the raw one, so its decisions do not depend on this.

    Examples
    --------
    >>> clamp_metric("kl", -1.2e-6), clamp_metric("logit-diff", -1.5)
    (0.0, -1.5)
    """
    return 0.0 if metric == "kl" and value <= 0 else value


def faithfulness(full: float, circuit: float, empty: float) -> float | None:
    """Share of the full model's performance that a circuit recovers: (m(C) − m(∅)) / (m(M) − m(∅)).

    1 is as good as the full model M, 0 as bad as the empty circuit ∅; values outside this range are possible.
    None if the full model and the empty circuit have the same metric.

    Examples
    --------
    >>> faithfulness(full=1.0, circuit=2.0, empty=9.0)
    0.875
    """
    span = full - empty
    return None if abs(span) < _SMALLEST_RANGE else (circuit - empty) / span
