"""FT-L and FT-M: fine-tuning a few matrices on the facts alone, as EasyEdit (arXiv 2308.07269) names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kcircuits.editing.delta import Delta, get_matrix, matrix_name, replace_matrix
from kcircuits.editing.stream import pad_right, run_to_end, run_to_layer
from kcircuits.editing.tokenise import TokenisedEdit
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import read_out
from kcircuits.model.spec import ModelSpec

Objective = Literal["last", "masked"]


@dataclass(frozen=True)
class TuningOptions:
    """Options of fine-tuning.

    Parameters
    ----------
    steps, learning_rate
        Steps and learning rate of Adam.
    limit
        Maximum change of any element, or None (FT-L's constraint, arXiv 2012.00363).
    enough
        Loss at which training stops.
    """

    steps: int = 40
    learning_rate: float = 5e-4
    limit: float | None = None
    enough: float = 0.01

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 1:
            raise KCircuitsError(f"steps must be a whole number from 1 on, got {self.steps!r}")
        if not 0 < self.learning_rate < float("inf"):
            raise KCircuitsError(f"learning_rate must be above 0 and finite, got {self.learning_rate!r}")
        if self.limit is not None and not 0 < self.limit < float("inf"):
            raise KCircuitsError(f"limit must be above 0 and finite, got {self.limit!r}")


def fine_tune(
    spec: ModelSpec,
    edits: Sequence[TokenisedEdit],
    nodes: Sequence[str],
    objective: Objective,
    options: TuningOptions,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Delta, float, float]:
    """Tune the output matrices of some nodes so that the model continues prompts with their targets.
    Parameters
    ----------
    spec, edits
        The model, and the edits, which are trained on together.
    nodes
        MLPs ("m17": its w_down) and heads ("a3.h1": its part of w_o).
    objective
        "masked" (FT-M): −log p of each target token after the prompt and the preceding target tokens. "last"
        (FT-L): −log p of each target token at the prompt's last position.
    options
        Options of the training.
    progress
        Called with the number of finished steps and of all steps.

    Returns
    -------
    tuple
        The change, and the loss before and after.
    """
    masks = _masks(spec, nodes)
    original = {name: get_matrix(spec, name).detach().float() for name in masks}
    matrices = {name: matrix.clone().requires_grad_() for name, matrix in original.items()}
    first = min(int(name.split(".")[1]) for name in masks)
    loss = _Loss(spec, edits, objective, first)
    optimiser = torch.optim.Adam(list(matrices.values()), lr=options.learning_rate)
    before = after = float("nan")
    for step in range(options.steps + 1):
        tuned_spec = spec
        for name, matrix in matrices.items():
            tuned_spec = replace_matrix(tuned_spec, name, matrix)
        value = loss(tuned_spec)
        after = float(value.detach())
        before = after if step == 0 else before
        if step == options.steps or not after > options.enough:
            break
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        with torch.no_grad():
            for name, matrix in matrices.items():
                change = (matrix - original[name]) * masks[name]
                if options.limit is not None:
                    change.clamp_(-options.limit, options.limit)
                matrix.copy_(original[name] + change)
        if progress is not None:
            progress(step + 1, options.steps)
    if progress is not None:
        progress(options.steps, options.steps)
    return Delta({name: (matrices[name] - original[name]).detach() for name in masks}), before, after


class _Loss:
    """The loss of a model, averaged over edits. Layers below `first` are run once."""

    def __init__(
        self, spec: ModelSpec, edits: Sequence[TokenisedEdit], objective: Objective, first: int
    ) -> None:
        rows, at = [], []
        for number, edit in enumerate(edits):
            rows.append(edit.prompt.ids + (edit.target[:-1] if objective == "masked" else ()))
            last = len(edit.prompt.ids) - 1
            for place, token in enumerate(edit.target):
                position = last + place if objective == "masked" else last
                at.append((number, position, token, 1 / (len(edits) * len(edit.target))))
        device = spec.unembedding.device
        self.tokens, self.first = pad_right(rows, device), first
        self.rows, self.positions, self.targets = (
            torch.tensor([each[i] for each in at], device=device) for i in range(3)
        )
        self.weights = torch.tensor([each[3] for each in at], device=device)
        with torch.no_grad():
            self.stream = run_to_layer(spec, self.tokens, first)

    def __call__(self, spec: ModelSpec) -> Tensor:
        final = run_to_end(spec, self.stream, self.tokens, self.first)[self.rows, self.positions]
        nll = functional.cross_entropy(read_out(spec, final).float(), self.targets, reduction="none")
        return (nll * self.weights).sum()


def _masks(spec: ModelSpec, nodes: Sequence[str]) -> dict[str, Tensor]:
    """Masks of the matrix elements that belong to the nodes."""
    if not nodes:
        raise KCircuitsError("no nodes to tune: give an MLP such as m17, or a head such as a3.h1")
    masks: dict[str, Tensor] = {}
    for node in nodes:
        tuned = spec.graph.nodes[spec.graph.sender_index(node)]
        if tuned.layer is None:
            raise KCircuitsError("the node 'input' cannot be tuned: give MLPs and heads")
        name = matrix_name(tuned.layer, of_heads=tuned.kind == "head")
        matrix = get_matrix(spec, name)
        mask = masks.setdefault(name, torch.zeros(1, matrix.shape[1], device=matrix.device))
        if tuned.kind == "head":
            mask[:, tuned.index * spec.head_dim : (tuned.index + 1) * spec.head_dim] = 1
        else:
            mask.fill_(1)
    return masks
