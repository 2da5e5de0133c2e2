"""One job: a circuit of one model for some prompts, found in one way, with what is read off it."""

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
    """How a circuit is found.

    Parameters
    ----------
    key
        Of the circuit.
    scores_key
        Of the scores that it is selected by, which circuits of other sizes are selected by as well; None for
        a method without.
    score_parts
        How many parts of the prompts are scored each by itself; 0 for a method that does not add up scores
        over prompts, and for mean ablation, where each part needs the mean of all.
    task, method, selection
        As `kcircuits.discover` takes them.
    """

    key: str
    scores_key: str | None
    score_parts: int
    task: Task
    method: Method
    selection: Selection | None

    @property
    def shared_keys(self) -> tuple[str, ...]:
        """The keys of all that is made on the way and shared with other jobs."""
        return (self.key,) if self.scores_key is None else (self.key, self.scores_key)

    def part_key(self, part: int, memory: int) -> str:
        """The key of the scores of one part of the prompts; only those of the same memory add up."""
        return key_of({"kind": "part", "scores": self.scores_key, "part": part, "memory": memory})


@dataclass(frozen=True)
class Job:
    """All that a process needs to know of a job, which it gets as a pickle.

    Parameters
    ----------
    key
        The SHA-256 of all that determines its result.
    labels
        What a row of the summary begins with: what the job is called.
    model, weights
        Where the model is, and the hash that its weights had when the job was made.
    search
        How the circuit is found.
    prompts
        Those that it is analysed on.
    analyses
        Name -> options, complete.
    seed
        Of the analyses.
    memory
        Bytes for what is evaluated together.
    needs
        Bytes that a process will have beside the weights, for as long as it does the job.
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
    """A job that there are no prompts for, or that the method refuses with them: why, under a key."""

    key: str
    labels: dict[str, Any]
    error: str
