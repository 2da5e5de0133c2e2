"""One job: a circuit of one model for some prompts and one method, with its analyses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcircuits.data.prompts import Prompt
from kcircuits.discovery import Method
from kcircuits.scores.selection import Selection
from kcircuits.sweeps.grid import ModelChoice
from kcircuits.sweeps.keys import key_of
from kcircuits.task import Task


@dataclass(frozen=True)
class Search:
    """The discovery of a circuit.

    Parameters
    ----------
    key
        Key of the circuit.
    scores_key
        Key of the scores for the selection, which circuits of other sizes share; None for a method without
        scores.
    score_parts
        Number of parts of the prompts that are scored separately; 0 for a method that does not sum scores
        over prompts, and for mean ablation, where each part needs the mean over all prompts.
    task, method, selection
        As in `kcircuits.discover`.
    """

    key: str
    scores_key: str | None
    score_parts: int
    task: Task
    method: Method
    selection: Selection | None

    @property
    def shared_keys(self) -> tuple[str, ...]:
        """The keys of intermediate results that other jobs share."""
        return (self.key,) if self.scores_key is None else (self.key, self.scores_key)

    def part_key(self, part: int, memory: int) -> str:
        """The key of the scores of one part of the prompts. Only parts of the same memory budget add up."""
        return key_of({"kind": "part", "scores": self.scores_key, "part": part, "memory": memory})


@dataclass(frozen=True)
class Job:
    """A job as it is sent to a process, as a pickle.

    Parameters
    ----------
    key
        SHA-256 of everything that determines its result.
    labels
        The first columns of its row in the summary.
    model, weights
        The model, and the hash of its weights when the job was made.
    search
        The discovery of the circuit.
    prompts
        The prompts of the analyses.
    analyses
        Complete options by analysis.
    seed
        Random seed of the analyses.
    memory
        Memory budget in bytes.
    needs
        Bytes that a process needs for the job in addition to the weights.
    """

    key: str
    labels: dict[str, Any]
    model: ModelChoice
    weights: str
    search: Search
    prompts: tuple[Prompt, ...]
    analyses: dict[str, dict[str, Any]]
    seed: int
    memory: int
    needs: int

    @property
    def title(self) -> str:
        """The job in a few words."""
        seed = "" if self.labels["seed"] is None else f", seed {self.labels['seed']}"
        return (
            f"{self.labels['model']}, {self.labels['relation']}, {self.labels['method']} "
            f"{self.labels['selection']}, {self.labels['ablation']}{seed}"
        )


@dataclass(frozen=True)
class RefusedJob:
    """A job that has no prompts or that the method refuses, with the reason."""

    key: str
    labels: dict[str, Any]
    error: str
