"""The result of `head_roles`: roles of heads and effects of their ablation, and roles.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from kcircuits.analysis.ablations import HeadAblation, RunMeans
from kcircuits.analysis.checks import LISTED, MOST_PROMPTS, check_document
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import count_of, name_of
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Keys, anything, check_keys, is_number, is_object, is_text, list_of
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-roles/1"
MOVER, RELATION = 10.0, 0.1
"""Ratios above and below which a head is a mover or a relation head."""
MOST = 1e6
"""Ratios are clipped to 1 / MOST … MOST."""

Role = Literal["mover", "relation", "mixture"]
ROLES: tuple[Role, ...] = ("mover", "relation", "mixture")


def role_of(ratio: float) -> Role:
    """The role for a ratio of writes from the subject to writes from the relation.

    Examples
    --------
    >>> role_of(12.0), role_of(0.05), role_of(1.0)
    ('mover', 'relation', 'mixture')
    """
    if ratio > MOVER:
        return "mover"
    return "relation" if ratio < RELATION else "mixture"


def ratio_of(subject: float, relation: float) -> float:
    """|subject| / |relation|, clipped to 1 / MOST … MOST; 1 if both are 0."""
    if not subject and not relation:
        return 1.0
    return float(np.clip(abs(subject) / abs(relation) if relation else MOST, 1 / MOST, MOST))


@dataclass(frozen=True)
class HeadRole:
    """A head and its contribution to the answer at the last position.

    Parameters
    ----------
    node
        Its name.
    subject_write, relation_write
        What it adds to the answer's logit from the subject's tokens and from the others, for each prompt [N].
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
        """The role given by the ratio."""
        return role_of(self.ratio)

    def roles_by_prompt(self) -> tuple[Role, ...]:
        """The role on each prompt alone."""
        pairs = zip(self.subject_write, self.relation_write, strict=True)
        return tuple(role_of(ratio_of(subject, relation)) for subject, relation in pairs)

    @property
    def mean_writes(self) -> tuple[float, float]:
        """Means over prompts of what it adds from the subject's tokens and from the others."""
        return float(np.mean(self.subject_write)), float(np.mean(self.relation_write))

    @classmethod
    def from_json(cls, what: str, head: object) -> HeadRole:
        """Read an object of `to_json`; raises KCircuitsError if it is anything else."""
        found = check_keys(what, head, _HEAD)
        writes = check_keys(f"{what}, 'per_prompt'", found["per_prompt"], _PER_PROMPT)
        subject, relation = (tuple(writes[key]) for key in _PER_PROMPT)
        if not subject or len(subject) != len(relation):
            raise KCircuitsError(
                f"{what}: {len(subject)} prompts in 'subject_write', {len(relation)} in 'relation_write'"
            )
        return cls(found["node"], subject, relation, found["ratio"], found["low"], found["high"])

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        subject, relation = self.mean_writes
        return {
            "node": self.node,
            "role": self.role,
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high,
            "subject_write": subject,
            "relation_write": relation,
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


@dataclass(frozen=True, eq=False, repr=False)
class Roles(Result):
    """Roles on some prompts.

    Parameters
    ----------
    model, settings
        Identity of the model, and settings of the reading.
    heads
        Heads by falling mean |write|.
    mlps
        MLPs whose whole interval is above 0, the strongest first.
    full
        The run of the full model.
    ablations
        Runs without the heads of each role that has any.
    """

    WHAT: ClassVar[str] = "file of roles"

    model: dict[str, Any]
    settings: dict[str, Any]
    heads: tuple[HeadRole, ...]
    mlps: tuple[MlpWrite, ...]
    full: RunMeans
    ablations: tuple[HeadAblation, ...]

    def table(self) -> DataFrame:
        """A row for each head."""
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
            "full": vars(self.full),
            "ablations": [ablation.to_json() for ablation in self.ablations],
        }

    @classmethod
    def from_json(cls, document: object) -> Roles:
        """The roles of a document of `to_json`; a head's role follows from its ratio.

        Raises KCircuitsError if it is anything else.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        mlps = [check_keys(f"mlps, {index}", mlp, _MLP) for index, mlp in enumerate(given["mlps"])]
        return cls(
            model=given["model"],
            settings=given["settings"],
            heads=tuple(
                HeadRole.from_json(f"heads, {index}", head) for index, head in enumerate(given["heads"])
            ),
            mlps=tuple(MlpWrite(**{key: mlp[key] for key in _MLP}) for mlp in mlps),
            full=RunMeans.from_json("full", given["full"]),
            ablations=tuple(
                HeadAblation.from_json(f"ablations, {index}", each)
                for index, each in enumerate(given["ablations"])
            ),
        )

    def describe(self) -> str:
        """Two lines: the number of heads of each role, then the strongest of each role."""
        counts = {role: [head.node for head in self.heads if head.role == role] for role in ROLES}
        shown = ", ".join(f"{count_of(len(nodes), f'{role} head')}" for role, nodes in counts.items())
        named = "; ".join(f"{role}: {', '.join(nodes[:4])}" for role, nodes in counts.items() if nodes)
        prompts = count_of(self.settings.get("num_prompts", 0), "prompt")
        return f"Roles of {name_of(self.model)} on {prompts}: {shown}\n{named or 'no head has a role'}"

    def panels(self) -> Panels:
        """ "writes": each head's logits from subject and relation; "ablations": the metric without roles."""
        from kcircuits.analysis.roles.plot import PANELS

        return PANELS


_NUMBER = (is_number, "a number")
_TEXT = (is_text, "a string")
_LIST = (list_of(anything, LISTED), "a list")
_WRITES = (list_of(is_number, MOST_PROMPTS), "a list of numbers")
_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "heads": _LIST,
    "mlps": _LIST,
    "full": (is_object, "an object"),
    "ablations": _LIST,
}
_HEAD: Keys = {
    "node": _TEXT,
    **dict.fromkeys(("ratio", "low", "high"), _NUMBER),
    "per_prompt": (is_object, "an object"),
}
_PER_PROMPT: Keys = {"subject_write": _WRITES, "relation_write": _WRITES}
_MLP: Keys = {"node": _TEXT, "logit": _NUMBER, "low": _NUMBER, "high": _NUMBER}
