"""From a grid to its jobs: models are loaded in turn, prompts chosen, and every combination gets its key."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from kcircuits.data.prompts import Prompt
from kcircuits.discovery import METHODS, method_and_selection
from kcircuits.discovery.by_scores import check_differences
from kcircuits.discovery.parts import parts_of
from kcircuits.errors import KCircuitsError
from kcircuits.model.identity import exact_identity
from kcircuits.model.loading import BITS, Model, load_model
from kcircuits.runtime.option_fields import given_options, options_of
from kcircuits.sweeps.analyses import ANALYSES
from kcircuits.sweeps.forecast import Forecast, private_weights, shared_weights
from kcircuits.sweeps.grid import Grid, MethodChoice, ModelChoice, SweepPrompts
from kcircuits.sweeps.job import Job, RefusedJob, Search
from kcircuits.sweeps.keys import digest_of_prompts, key_of
from kcircuits.sweeps.ranks import read_ranks
from kcircuits.sweeps.store import Shelf
from kcircuits.sweeps.yaml_file import Document
from kcircuits.task import Task, TaskOptions
from kcircuits.task.prompt_choice import choose_all, half_of

SEED = "seed"


@dataclass
class ExpandedGrid:
    """All jobs in the order of the grid, each once; those that cannot be done; bytes of all weights.

    `shared` are bytes that all processes have together, `private` those that each has, by model.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    refused: dict[str, RefusedJob] = field(default_factory=dict)
    shared: dict[ModelChoice, int] = field(default_factory=dict)
    private: dict[ModelChoice, int] = field(default_factory=dict)


def load_choice(choice: ModelChoice) -> Model:
    """Load a chosen model. Raises KCircuitsError if it cannot be loaded."""
    import torch

    kept: Any = choice.dtype if choice.dtype in (*BITS, "stored") else getattr(torch, choice.dtype)
    return load_model(choice.source, dtype=kept, device=choice.device)


def expand(grid: Grid, document: Document, parts: Shelf, *, keep: bool) -> ExpandedGrid:
    """Make the jobs of a grid.

    Parameters
    ----------
    grid, document
        The axes, and the document that they were read from, for error messages.
    parts, keep
        Where ranks of the models' answers may be stored, and whether to store new ones.

    Raises
    ------
    KCircuitsError
        If a model or a file of prompts cannot be used, or a combination of method, ablation and metric is
        refused for all prompts. Jobs that only some prompts make impossible are `refused`, so that the other
        jobs can run.
    """
    found = ExpandedGrid()
    for choice in dict.fromkeys(grid.models):
        try:
            model = load_choice(choice)
        except KCircuitsError as error:
            raise document.error(choice.place, str(error)) from error
        found.shared[choice] = shared_weights(model.spec)
        found.private[choice] = private_weights(model.spec)
        _Expansion(grid, document, parts, keep, choice, model, found).run()
    return found


@dataclass
class _Expansion:
    """The jobs of one model."""

    grid: Grid
    document: Document
    parts: Shelf
    keep: bool
    choice: ModelChoice
    model: Model
    found: ExpandedGrid
    forecast: Forecast = field(default_factory=Forecast)
    known: dict[Any, tuple[Prompt, ...] | KCircuitsError] = field(default_factory=dict)

    def run(self) -> None:
        content = exact_identity(self.model.identity, self.model.spec)
        grid = self.grid
        for method, ablation, metric in product(grid.methods, grid.ablations, grid.metrics):
            options = TaskOptions(ablation=ablation, metric=metric, **method.changes)
            refusals: list[KCircuitsError] = []
            fits = 0
            for chosen in grid.prompts:
                for seed in grid.seeds:
                    labels = self._labels(chosen, method, ablation, metric, seed)
                    try:
                        prompts = self._prompts(chosen, partners=options.needs_partners)
                    except KCircuitsError as error:
                        self._refuse(labels, content, chosen, error)
                        continue
                    try:
                        job = self._job(content, labels, chosen, method, options, seed, prompts)
                    except KCircuitsError as error:
                        refusals.append(error)
                        self._refuse(labels, content, chosen, error)
                        continue
                    fits += 1
                    self.found.jobs.setdefault(job.key, job)
            if refusals and not fits:
                raise self.document.error(
                    method.place, f"with {ablation} ablation and {metric}: {refusals[0]}"
                )

    def _job(
        self,
        model: dict[str, Any],
        labels: dict[str, Any],
        chosen: SweepPrompts,
        method: MethodChoice,
        asked: TaskOptions,
        seed: int,
        prompts: tuple[Prompt, ...],
    ) -> Job:
        searched = half_of(prompts, chosen.half, chosen.seed_of_halves)
        measured = (
            searched
            if chosen.measure_half is None
            else half_of(prompts, chosen.measure_half, chosen.seed_of_halves)
        )
        options = dict(method.options)
        seeded = SEED in options_of(METHODS[method.name]) and SEED not in options
        if seeded:
            options[SEED] = seed
        made, selection = method_and_selection(method.name, options)
        task = Task.of(asked, searched)
        if made.scores_all_edges:
            check_differences(task)
        made.check(self.model.spec, task)
        digest = digest_of_prompts(searched)
        common = {
            "model": model,
            "prompts": digest,
            "method": method.name,
            "ablation": task.ablation,
            "metric": task.metric,
            **method.changes,
        }
        scores_key, score_parts = None, 0
        settings = made.settings
        if selection is not None:
            scores_key = key_of({"kind": "scores", **common, "settings": made.settings})
            # With mean ablation, each part would average over all prompts again.
            in_parts = made.has_gradients and not task.is_mean
            score_parts = len(parts_of(searched)) if in_parts else 0
            settings = settings | asdict(selection)
        search = Search(
            key=key_of({"kind": "circuit", **common, "settings": settings}),
            scores_key=scores_key,
            score_parts=score_parts,
            task=task,
            method=made,
            selection=selection,
        )
        _check_subjects(self.grid, measured)
        analysed = any(ANALYSES[name].seeded for name in self.grid.analyses)
        used = seed if seeded or analysed else None
        key = key_of(
            {
                "kind": "job",
                "circuit": search.key,
                "measured": digest_of_prompts(measured),
                "analyses": self.grid.analyses,
                "seed": seed if analysed else None,
            }
        )
        memory = self.grid.memory
        return Job(
            key=key,
            labels=labels
            | {
                "seed": used,
                "num_prompts": len(searched),
                "settings": json.dumps(settings | method.changes, sort_keys=True),
            },
            model=self.choice,
            weights=self.model.identity["weights_hash"],
            search=search,
            prompts=measured,
            analyses=self.grid.analyses,
            seed=seed,
            memory=memory,
            needs=self.forecast.needs(self.model, search, digest, memory),
        )

    def _labels(
        self, chosen: SweepPrompts, method: MethodChoice, ablation: str, metric: str, seed: int
    ) -> dict[str, Any]:
        options = method.options
        by = next((name for name in ("threshold", "top_n") if options.get(name) is not None), None)
        return {
            "model": self.model.identity["name"],
            "weights": self.model.identity["weights_hash"],
            "dtype": self.choice.dtype,
            "relation": chosen.name,
            "template": (chosen.template or 0) if chosen.kind == "relation" else None,
            "half": chosen.half,
            "method": method.name,
            "selection": "" if by is None else f"{by}={options[by]}",
            "settings": json.dumps(options | method.changes, sort_keys=True),
            "ablation": ablation,
            "metric": metric,
            "seed": seed,
            "num_prompts": None,
        }

    def _prompts(self, chosen: SweepPrompts, *, partners: bool) -> tuple[Prompt, ...]:
        """All prompts of a choice, before it is split into halves. An unusable file ends the sweep."""
        whole = replace(chosen, half=None, measure_half=None, split_seed=None, name="")
        key = (whole, partners and chosen.kind == "relation")
        if key not in self.known:
            try:
                self.known[key] = self._make(chosen, partners)
            except KCircuitsError as error:
                self.known[key] = error
        known = self.known[key]
        if isinstance(known, KCircuitsError):
            raise known
        return known

    def _make(self, chosen: SweepPrompts, partners: bool) -> tuple[Prompt, ...]:
        ranks = partial(
            read_ranks, model=self.model, memory=self.grid.memory, parts=self.parts, keep=self.keep
        )
        try:
            return choose_all(chosen, self.model, ranks, with_partners=partners).prompts
        except KCircuitsError as error:
            if chosen.kind == "relation":
                raise
            raise _BadFile(str(self.document.error(chosen.place, str(error)))) from error

    def _refuse(
        self, labels: dict[str, Any], model: dict[str, Any], chosen: SweepPrompts, error: KCircuitsError
    ) -> None:
        if isinstance(error, _BadFile):
            raise error
        source = given_options(chosen) | {chosen.kind: Path(chosen.source).name, "name": chosen.name}
        asked = {name: labels[name] for name in ("method", "settings", "ablation", "metric", "seed")}
        key = key_of({"kind": "refused", "model": model, "prompts": source, **asked})
        self.found.refused.setdefault(key, RefusedJob(key, labels, str(error)))


class _BadFile(KCircuitsError):
    """Prompts from a file, or one as text, cannot be used."""


def _check_subjects(grid: Grid, prompts: tuple[Prompt, ...]) -> None:
    wanted = [name for name in grid.analyses if ANALYSES[name].needs_subjects]
    for number, prompt in enumerate(prompts, start=1):
        if wanted and prompt.subject is None:
            raise KCircuitsError(f"{wanted[0]} needs a subject in each prompt, and prompt {number} has none")
