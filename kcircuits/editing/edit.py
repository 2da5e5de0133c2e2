"""From requests to an edited model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from kcircuits.data.prompt_warnings import gather_warnings
from kcircuits.data.tokens import tokenise_text
from kcircuits.display.progress import shown_steps
from kcircuits.editing.checks import AT_START, check_agreement, check_new
from kcircuits.editing.delta import Delta, LowRank, matrix_name
from kcircuits.editing.export import export
from kcircuits.editing.fine_tuning import fine_tune
from kcircuits.editing.memit import spread_values
from kcircuits.editing.methods import FineTuning, Memit, Method, Rome
from kcircuits.editing.rank_one import rank_one_update
from kcircuits.editing.request import EditRequest
from kcircuits.editing.sampling import STARTS, sample_tokens
from kcircuits.editing.second_moment import SecondMoment
from kcircuits.editing.tokenise import TokenisedEdit, tokenise_edit
from kcircuits.editing.values import Values, optimise_values
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from kcircuits.model.spec import Experts, ModelSpec

PREFIX_LENGTHS = (5, 10)
Progress = Callable[[int, int], None]
UNIT = "steps of the edits"


@dataclass(frozen=True)
class EditedModel:
    """An edit, and the model with it.

    As a context manager it gives the edited model. The model that was edited is never written to: the
    changed matrices are new ones beside it, so it is the same to the bit before, meanwhile and afterwards.

    Parameters
    ----------
    original
        The model that was edited.
    delta
        What is added to which matrices.
    requests
        Those that the edit contains.
    failed
        Reasons by the number of the request: what could not be edited and is not in the edit.

    Examples
    --------
        with kcircuits.edit(model, requests, Rome(layer=9)) as edited:
            circuit = kcircuits.discover(edited, task, kcircuits.Acdc(threshold=0.1))
    """

    original: Model
    delta: Delta
    requests: tuple[EditRequest, ...]
    failed: dict[int, str]

    @cached_property
    def model(self) -> Model:
        """The edited model; its identity is its own."""
        return self.delta.apply(self.original)

    def __enter__(self) -> Model:
        return self.model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__dict__.pop("model", None)  # its own matrices are freed with it

    def save(self, path: str | Path) -> None:
        """Write the delta as safetensors, atomically; `load_edit` reads it."""
        self.delta.save(path, self.original.identity)

    def export(self, folder: str | Path) -> Path:
        """Write the edited model as a Hugging Face folder, its weights to the bit those of `model`.

        The folder must be new or empty. Raises KCircuitsError if it is not, if the model was not read from a
        folder or a `.gguf` file, or its matrices are kept in few bits (`kcircuits.editing.export`).
        """
        return export(self.original, self.model, self.delta, folder)


def edit(
    model: Model,
    requests: Sequence[EditRequest],
    method: Method,
    *,
    moments: Callable[[int], SecondMoment] | None = None,
    num_prefixes: int = 5,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> EditedModel:
    """Edit facts, all of them into one model.

    Parameters
    ----------
    model
        With a tokenizer.
    requests
        At least one.
    method
        `Rome`, `Memit` or `FineTuning`, with its options.
    moments
        The second moment of the keys at a layer (`second_moment`, `identity_moment`), for ROME and MEMIT.
    num_prefixes
        Before how many texts, sampled from the model, a prompt is also seen (ROME and MEMIT).
    seed
        Of that sampling.
    progress
        As in `kcircuits.discover`; a callback is called with steps done and steps in all.

    Raises
    ------
    KCircuitsError
        If a request cannot be used (its target is what the model says already, say), two contradict each
        other, a layer does not exist or is a mixture of experts, moments are missing, or all edits fail.
    """
    edits = tokenise_edits(model, requests, method, num_prefixes, seed)
    check_agreement(requests, edits, method)
    with shown_steps(progress, UNIT) as report:
        if isinstance(method, FineTuning):
            return _fine_tune(model, requests, edits, method, report)
        _check_moments(method, moments)
        values, owners, failed = _optimise_values(model.spec, edits, method, report)
    if not owners:
        raise KCircuitsError(f"no edit succeeded; the first: {failed[0]}")
    delta = write_values(model.spec, [edits[number] for number in owners], values, method, moments)
    return EditedModel(model, delta, tuple(requests), failed)


def edit_each(
    model: Model,
    requests: Sequence[EditRequest],
    method: Method,
    *,
    moments: Callable[[int], SecondMoment] | None = None,
    num_prefixes: int = 5,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> list[EditedModel | str]:
    """Edit facts, each into a model of its own; values are optimised together.

    Parameters are those of `edit`. Gives for each request its edit, or the reason why it failed.
    """
    if isinstance(method, FineTuning):
        found: list[EditedModel | str] = []
        with shown_steps(progress, "edits") as report:
            for number, request in enumerate(requests, start=1):
                edits = tokenise_edits(model, [request], method, num_prefixes, seed)
                try:
                    found.append(_fine_tune(model, [request], edits, method, None))
                except DivergedError as error:
                    found.append(str(error))
                if report is not None:
                    report(number, len(requests))
        return found
    edits = tokenise_edits(model, requests, method, num_prefixes, seed)
    _check_moments(method, moments)
    with shown_steps(progress, UNIT) as report:
        values, owners, failed = _optimise_values(model.spec, edits, method, report)
    made: dict[int, EditedModel | str] = dict(failed)
    for place, number in enumerate(owners):
        delta = write_values(model.spec, [edits[number]], select_values(values, [place]), method, moments)
        made[number] = EditedModel(model, delta, (requests[number],), {})
    return [made[number] for number in range(len(edits))]


class DivergedError(KCircuitsError):
    """An optimisation made its loss larger, or not finite."""


def tokenise_edits(
    model: Model, requests: Sequence[EditRequest], method: Method, num_prefixes: int, seed: int
) -> list[TokenisedEdit]:
    """Check requests and tokenise them, ROME's and MEMIT's behind prefixes."""
    if not requests:
        raise KCircuitsError("there is no edit")
    spec = model.spec
    if isinstance(method, FineTuning):
        prefixes: list[str] = []
    else:
        for layer in method.layers(len(spec.layers)):
            if isinstance(spec.layers[layer].mlp, Experts):
                raise KCircuitsError(
                    f"layer {layer} is a mixture of experts, which has no one w_down to edit"
                )
            if len(method.layers(len(spec.layers))) > 1 and spec.layers[layer].mlp_post_norm is not None:
                raise KCircuitsError(
                    f"{spec.family} norms what its MLPs write: a value cannot be spread over layers; give one"
                )
        prefixes = sample_prefixes(model, num_prefixes, seed)
    with gather_warnings():
        edits = [tokenise_edit(model, request, prefixes) for request in requests]
    check_new(spec, requests, edits)
    return edits


def sample_prefixes(model: Model, count: int, seed: int) -> list[str]:
    """Texts of 5 and 10 tokens, by turns, that the model writes."""
    if count < 1:
        return []
    starts = [tokenise_text(model.tokenizer, word, "prefix") for word in STARTS]
    texts = []
    for number in range(count):
        start = starts[number % len(starts)]
        length = PREFIX_LENGTHS[number % len(PREFIX_LENGTHS)]
        ids = sample_tokens(model.spec, [start.ids], length, seed + number)[0].tolist()
        text = model.tokenizer.decode(ids[len(start.ids) - start.num_text_ids :])  # type: ignore[union-attr]
        texts.append(" ".join(text.split()) + ".")
    return texts


def _optimise_values(
    spec: ModelSpec, edits: Sequence[TokenisedEdit], method: Rome | Memit, progress: Progress | None
) -> tuple[Values, list[int], dict[int, str]]:
    """The values of the edits that succeed, the numbers of these, and reasons by the number of the others."""
    failed = {number: AT_START for number, edit in enumerate(edits) if edit.prompt.subject_last == 0}
    tried = [number for number in range(len(edits)) if number not in failed]
    if not tried:
        raise KCircuitsError(f"no edit can be made; the first: {failed[0]}")
    layer = method.layers(len(spec.layers))[-1]
    values = optimise_values(spec, [edits[number] for number in tried], layer, method.value, progress)
    failed |= {tried[place]: reason for place, reason in values.failed.items()}
    kept = [place for place in range(len(tried)) if place not in values.failed]
    return select_values(values, kept), [tried[place] for place in kept], dict(sorted(failed.items()))


def _check_moments(method: Rome | Memit, moments: Callable[[int], SecondMoment] | None) -> None:
    if moments is None:
        raise KCircuitsError(f"{method.name} needs the second moment of the keys (second_moment)")


def write_values(
    spec: ModelSpec,
    edits: Sequence[TokenisedEdit],
    values: Values,
    method: Rome | Memit,
    moments: Callable[[int], SecondMoment] | None,
) -> Delta:
    """The change that gives some keys their values."""
    _check_moments(method, moments)
    assert moments is not None
    layers = method.layers(len(spec.layers))
    if isinstance(method, Memit):
        return spread_values(spec, edits, values, layers, lambda layer: moments(layer).matrix, method.weight)
    # One after the other: a later edit finds the earlier ones in W. Its key does not change by them, as keys
    # are what comes into W.
    left: list[Tensor] = []
    right: list[Tensor] = []
    moment = moments(layers[0]).matrix
    for key, change in zip(values.key, values.delta, strict=True):
        moved = sum((a * (b @ key) for a, b in zip(left, right, strict=True)), torch.zeros_like(change))
        update = rank_one_update(key, change - moved, moment)
        left.append(update.left[:, 0])
        right.append(update.right[:, 0])
    return Delta({matrix_name(layers[0]): LowRank(torch.stack(left, dim=1), torch.stack(right, dim=1))})


def select_values(values: Values, numbers: Sequence[int]) -> Values:
    """Some of the edits' values."""
    index = torch.tensor(list(numbers), device=values.key.device)
    return Values(values.key[index], values.delta[index], values.loss[index], {})


def _fine_tune(
    model: Model,
    requests: Sequence[EditRequest],
    edits: Sequence[TokenisedEdit],
    method: FineTuning,
    progress: Progress | None,
) -> EditedModel:
    nodes = method.tuned_nodes(len(model.spec.layers))
    delta, before, after = fine_tune(model.spec, edits, nodes, method.objective, method.tuning, progress)
    if not after <= before:
        raise DivergedError(f"the fine-tuning diverged: its loss went from {before:.3g} to {after:.3g}")
    return EditedModel(model, delta, tuple(requests), {})
