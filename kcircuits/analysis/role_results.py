"""What roles say of heads, and what they are worth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kcircuits.analysis.ablations import HeadAblation, means_of
from kcircuits.evaluate.measures import RunMeasures
from kcircuits.files import write_atomically
from kcircuits.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-roles/1"
MOVER, RELATION = 10.0, 0.1
"""Ratios above and below which a head is a mover or a relation head."""
MOST = 1e6
"""Ratios are cut here, and at 1 / MOST."""

Role = Literal["mover", "relation", "mixture"]
ROLES: tuple[Role, ...] = ("mover", "relation", "mixture")


def role_of(ratio: float) -> Role:
    """The role of a ratio of writes, subject to relation.

    Examples
    --------
    >>> role_of(12.0), role_of(0.05), role_of(1.0)
    ('mover', 'relation', 'mixture')
    """
    if ratio > MOVER:
        return "mover"
    return "relation" if ratio < RELATION else "mixture"


def ratio_of(subject: float, relation: float) -> float:
    """|subject| / |relation|, cut to 1 / MOST … MOST; 1 where both are 0."""
    if not subject and not relation:
        return 1.0
    return float(np.clip(abs(subject) / abs(relation) if relation else MOST, 1 / MOST, MOST))


@dataclass(frozen=True)
class HeadRole:
    """A head and what it writes to the answer at the last position.

    Parameters
    ----------
    node
        Its name.
    subject_write, relation_write
        What it adds to the answer's logit from the subject's tokens and from the others, of each prompt [N].
    ratio, low, high
        |mean of subject_write| / |mean of relation_write|, and its bootstrap interval over prompts.
    """

    node: str
    subject_write: tuple[float, ...]
    relation_write: tuple[float, ...]
    ratio: float
    low: float
    high: float

    @property
    def role(self) -> Role:
        """By the ratio."""
        return role_of(self.ratio)

    def roles_by_prompt(self) -> tuple[Role, ...]:
        """The role on each prompt alone."""
        pairs = zip(self.subject_write, self.relation_write, strict=True)
        return tuple(role_of(ratio_of(subject, relation)) for subject, relation in pairs)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "node": self.node,
            "role": self.role,
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high,
            "subject_write": float(np.mean(self.subject_write)),
            "relation_write": float(np.mean(self.relation_write)),
            "per_prompt": {
                "subject_write": list(self.subject_write),
                "relation_write": list(self.relation_write),
                "role": list(self.roles_by_prompt()),
            },
        }


@dataclass(frozen=True)
class MlpWrite:
    """An MLP that raises the answer: mean direct logit over prompts, and its bootstrap interval."""

    node: str
    logit: float
    low: float
    high: float


@dataclass(frozen=True)
class Roles:
    """Roles on some prompts.

    Parameters
    ----------
    model, settings
        Identity of the model, and how they were found.
    heads
        By falling mean |write|.
    mlps
        Those whose whole interval is above 0, the strongest first.
    full
        The full model's run.
    ablations
        Without the heads of each role that there is.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    heads: tuple[HeadRole, ...]
    mlps: tuple[MlpWrite, ...]
    full: RunMeasures
    ablations: tuple[HeadAblation, ...]

    def table(self) -> DataFrame:
        """A row for every head."""
        need("pandas", "tables")
        from pandas import DataFrame

        rows = [head.to_json() for head in self.heads]
        return DataFrame([{key: value for key, value in row.items() if key != "per_prompt"} for row in rows])

    def to_json(self) -> dict[str, Any]:
        """The content of roles.json."""
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "heads": [head.to_json() for head in self.heads],
            "mlps": [vars(mlp) for mlp in self.mlps],
            "full": means_of(self.full),
            "ablations": [ablation.to_json() for ablation in self.ablations],
        }

    def save(self, path: str | Path) -> None:
        """Write roles.json, atomically. Raises KCircuitsError if the place cannot be written."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
