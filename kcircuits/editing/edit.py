"""Editing facts: from requests to an edited model."""

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
from kcircuits.display.progress import show_steps
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
    """An edit and the edited model.

    As a context manager it returns the edited model. The original model never changes: the edited model has
    its own copies of the changed matrices.

    Parameters
    ----------
    original
        The original model.
    delta
        The change of each matrix.
    requests
        The requests in the edit.
    failed
        Reasons by the number of the request, for requests that failed and are not in the edit.

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
        """The edited model, with an identity of its own."""
        return self.delta.apply(self.original)

    def __enter__(self) -> Model:
        return self.model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__dict__.pop("model", None)  # frees the edited matrices

    def save(self, path: str | Path) -> None:
        """Write the change as safetensors, atomically. `Delta.load` reads it."""
        self.delta.save(path, self.original.identity)

    def export(self, folder: str | Path) -> Path:
        """Write the edited model as a Hugging Face folder with exactly the weights of `model`.

        The folder must be new or empty. Raises KCircuitsError if it is not, if the model was not loaded from
        a folder or a `.gguf` file, or if its matrices are quantised (`kcircuits.editing.export`).
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
    """Edit several facts in one model.

    Parameters
    ----------
    model
        A model with a tokenizer.
    requests
        At least one request.
    method
        `Rome`, `Memit` or `FineTuning`, with its options.
    moments
        Returns the second moment of the keys at a layer (`second_moment`, `identity_moment`); for ROME and
        MEMIT.
    num_prefixes
        Number of texts sampled from the model that are put before each prompt (ROME and MEMIT).
    seed
        Random seed of that sampling.
    progress
        As in `kcircuits.discover`. A callback gets the number of finished steps and of all steps.

    Raises
    ------
    KCircuitsError
        If a request cannot be used (for example, the model already predicts its target), two requests
        contradict each other, a layer does not exist or is a mixture of experts, moments are missing, or all
        edits fail.
    """
    edits = tokenise_edits(model, requests, method, num_prefixes, seed)
    check_agreement(requests, edits, method)
    with show_steps(progress, UNIT) as report:
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
    """Edit several facts, each in a model of its own. Values are optimised together.

    Parameters are those of `edit`. Returns for each request its edit, or the reason why it failed.
    """
    if isinstance(method, FineTuning):
        found: list[EditedModel | str] = []
        with show_steps(progress, "edits") as report:
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
    with show_steps(progress, UNIT) as report:
        values, owners, failed = _optimise_values(model.spec, edits, method, report)
    made: dict[int, EditedModel | str] = dict(failed)
    for place, number in enumerate(owners):
        delta = write_values(model.spec, [edits[number]], select_values(values, [place]), method, moments)
        made[number] = EditedModel(model, delta, (requests[number],), {})
    return [made[number] for number in range(len(edits))]


class DivergedError(KCircuitsError):
    """An optimisation increased its loss, or the loss is not finite."""


def tokenise_edits(
    model: Model, requests: Sequence[EditRequest], method: Method, num_prefixes: int, seed: int
) -> list[TokenisedEdit]:
    """Check requests and tokenise them; for ROME and MEMIT also with prefixes."""
    if not requests:
        raise KCircuitsError("there are no edits")
    spec = model.spec
    if isinstance(method, FineTuning):
        prefixes: list[str] = []
    else:
        for layer in method.layers(len(spec.layers)):
            if isinstance(spec.layers[layer].mlp, Experts):
                raise KCircuitsError(
                    f"layer {layer} is a mixture of experts, which has no single w_down to edit"
                )
            if len(method.layers(len(spec.layers))) > 1 and spec.layers[layer].mlp_post_norm is not None:
                raise KCircuitsError(
                    f"{spec.family} has a norm after each MLP, so a value cannot be spread over layers: "
                    "give one layer"
                )
        prefixes = sample_prefixes(model, num_prefixes, seed)
    with gather_warnings():
        edits = [tokenise_edit(model, request, prefixes) for request in requests]
    check_new(spec, requests, edits)
    return edits


def sample_prefixes(model: Model, count: int, seed: int) -> list[str]:
    """Texts sampled from the model, alternately of 5 and 10 tokens."""
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
    """The values and numbers of the edits that succeed, and reasons by number for the others."""
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
        raise KCircuitsError(
            f"{method.name} needs the second moment of the keys: give `moments`, a function of the layer"
        )


def write_values(
    spec: ModelSpec,
    edits: Sequence[TokenisedEdit],
    values: Values,
    method: Rome | Memit,
    moments: Callable[[int], SecondMoment] | None,
) -> Delta:
    """The change of matrices that maps keys to their values."""
    _check_moments(method, moments)
    assert moments is not None
    layers = method.layers(len(spec.layers))
    if isinstance(method, Memit):
        return spread_values(spec, edits, values, layers, lambda layer: moments(layer).matrix, method.weight)
    # One after the other: a later edit starts from W with the earlier ones. They do not change its key, which
    # is an input of W.
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
    """The values of some edits."""
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
