"""How the answer comes up, layer by layer, in a model and its circuit (arXiv 2405.17969, figure 5)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.analysis.bands import Band, bootstrap_band
from kcircuits.analysis.layers import LayerReadout, Place, read_layers
from kcircuits.analysis.prepare import engines_with_prompts, task_for
from kcircuits.analysis.prompt_texts import PromptText, texts_of
from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.evaluate.prepare import check_whole
from kcircuits.files import write_atomically
from kcircuits.memory import budget_for
from kcircuits.model.loading import Model
from kcircuits.needs import for_circuits
from kcircuits.optional import need
from kcircuits.task import Ablation

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-curves/1"
MEASURES = ("rank", "probability", "subject_best_rank", "subject_last_probability")


@dataclass(frozen=True)
class RunCurves:
    """What one run makes of N prompts behind 0 … L layers, each float64 [N, L + 1].

    Parameters
    ----------
    rank, probability
        Of the answer, at the last position; rank 1 is the most likely token.
    subject_best_rank
        The answer's best rank over the subject's tokens; NaN for prompts without a subject.
    subject_last_probability
        Its probability at the subject's last token; NaN likewise.
    """

    rank: np.ndarray
    probability: np.ndarray
    subject_best_rank: np.ndarray
    subject_last_probability: np.ndarray

    def of_prompt(self, index: int) -> dict[str, list[float] | None]:
        """One prompt's values as JSON has them, None where it has no subject."""
        rows = {name: values[index] for name, values in vars(self).items()}
        return {name: None if np.isnan(row).any() else row.tolist() for name, row in rows.items()}


@dataclass(frozen=True)
class Curves:
    """The curves of some prompts.

    Parameters
    ----------
    model
        Identity of the model.
    settings
        How they were measured; `seed` is of the bootstrap.
    prompts
        The prompts' texts, [N].
    runs
        "full", the whole model; and "circuit", where there is one.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    prompts: tuple[PromptText, ...]
    runs: dict[str, RunCurves]

    @property
    def layers(self) -> tuple[int, ...]:
        """0 … L; 0 is the input, l the stream behind layer l − 1."""
        return tuple(range(self.runs["full"].rank.shape[1]))

    def summary(self, run: str) -> dict[str, Band | None]:
        """Every measure's mean over prompts (of ranks the geometric mean) with its bootstrap interval.

        The subject's are over the prompts that have one; None where none has.
        """
        bands: dict[str, Band | None] = {}
        for name in MEASURES:
            values = getattr(self.runs[run], name)
            known = values[~np.isnan(values).any(axis=1)]
            geometric = name.endswith("rank")
            bands[name] = (
                bootstrap_band(known, self.settings["seed"], geometric=geometric) if len(known) else None
            )
        return bands

    def table(self) -> DataFrame:
        """A row for every run, prompt and layer."""
        need("pandas", "tables")
        from pandas import DataFrame

        rows = [
            {"run": run, "prompt": n, "answer": prompt.answer, "layer": layer}
            | {name: getattr(values, name)[n, layer] for name in MEASURES}
            for run, values in self.runs.items()
            for n, prompt in enumerate(self.prompts)
            for layer in self.layers
        ]
        return DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The content of curves.json."""
        summaries = {run: self.summary(run) for run in self.runs}
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "layers": list(self.layers),
            "circuit": "circuit" in self.runs,
            "prompts": [
                prompt.to_json() | {"runs": {run: values.of_prompt(n) for run, values in self.runs.items()}}
                for n, prompt in enumerate(self.prompts)
            ],
            "summary": {
                run: {name: band and band.to_json() for name, band in bands.items()}
                for run, bands in summaries.items()
            },
        }

    def save(self, path: str | Path) -> None:
        """Write curves.json, atomically. Raises KCircuitsError if the place cannot be written."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def layer_curves(
    model: Model,
    prompts: Sequence[Prompt],
    circuit: Circuit | None = None,
    *,
    ablation: Ablation | None = None,
    reference: Sequence[Prompt] = (),
    seed: int = 0,
    memory: int | str | None = None,
) -> Curves:
    """Read the answer off the residual stream behind every layer.

    The stream behind the first l layers goes through the final norm and the unembedding (logit lens). In the
    circuit's masked run it is what the logits would read if there were only the senders of these layers:
    Σ a_s over present edges into the logits + Σ ã_s over absent ones + Σ b_O. So behind all L layers it is
    what the circuit itself predicts, as `kcircuits.evaluate` measures it.

    Parameters
    ----------
    model, prompts
        The model, and prompts for it, at least one; those with a `subject` have its curves, too.
    circuit
        A circuit of the model, whose masked run is read beside the full one.
    ablation, reference
        Of the circuit, as in `kcircuits.evaluate`; by default what it was found with.
    seed
        Of the bootstrap over prompts.
    memory
        Bytes, or a size such as "8GiB", as in `kcircuits.evaluate`.

    Raises
    ------
    KCircuitsError
        If the circuit belongs to another model, or anything else of the input cannot be used.
    """
    check_whole("seed", seed)
    spec, task = task_for(model, prompts, circuit, ablation, reference)
    budget = budget_for(memory, [for_circuits(spec, task)])
    graph = spec.graph
    masks = np.stack([graph.valid] if circuit is None else [graph.valid, circuit.mask()])
    parts: list[np.ndarray] = []
    for engine, portion in engines_with_prompts(spec, task, budget):
        places = [
            [Place(start + position, prompt.answer_id) for position in _positions(prompt)]
            for start, prompt in zip(engine.starts, portion, strict=False)
        ]
        read = read_layers(spec, engine, masks, [each for of in places for each in of], budget)
        first = 0
        for of in places:
            parts.append(_of_prompt(read, slice(first, first + len(of))))
            first += len(of)
    measured = np.stack(parts, axis=2)  # [measures, M, N, L + 1]
    settings: dict[str, Any] = {"num_prompts": len(task.prompts), "seed": seed}
    if circuit is not None:
        settings |= {"ablation": task.ablation, "num_edges": len(circuit.edges)}
    return Curves(
        model=model.identity,
        settings=settings,
        prompts=texts_of(model, task.prompts),
        runs={name: RunCurves(*measured[:, m]) for m, name in enumerate(["full", "circuit"][: len(masks)])},
    )


def _positions(prompt: Prompt) -> list[int]:
    """Where a prompt is read: at its last token, then at the subject's."""
    return [len(prompt.clean_ids) - 1, *range(*(prompt.subject or (0, 0)))]


def _of_prompt(read: LayerReadout, places: slice) -> np.ndarray:
    """The measures of one prompt, [measures, M, L + 1], from the places of `_positions`."""
    rank, probability = read.rank[:, :, places], read.probability[:, :, places]
    none = np.full(rank.shape[:2], np.nan)
    has_subject = rank.shape[2] > 1
    best = rank[:, :, 1:].min(axis=2) if has_subject else none
    last = probability[:, :, -1] if has_subject else none
    return np.stack([rank[:, :, 0], probability[:, :, 0], best, last])
