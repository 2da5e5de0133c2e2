"""The value of a fact: the MLP output at the subject's last token that encodes it (ROME, section 3.1).

All edits of one layer are optimised together. The layers below are run once, and each step runs the layers
above for all edits in one batch. Adam works elementwise, so the result is that of optimising each edit alone,
except for the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kcircuits.editing.stream import (
    BeforeMlp,
    Tokens,
    cache_positions,
    dense_mlp,
    finish_layer,
    pad_left,
    pad_right,
    run_tail_to_end,
    run_to_mlp,
)
from kcircuits.editing.tokenise import SubjectPrompt, TokenisedEdit
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import linear, read_out
from kcircuits.model.spec import ModelSpec

AT_ONCE = 4096
"""Tokens of edits that are optimised together. More would use more memory without being faster."""


@dataclass(frozen=True)
class ValueOptions:
    """Options of the optimisation of values, named as ROME's hyperparameters.

    Parameters
    ----------
    steps, learning_rate
        Steps and learning rate of Adam.
    kl_factor
        Weight of KL(edited ‖ unedited) after the subject's essence prompt.
    weight_decay
        Weight of ‖δ‖ / ‖v‖², where v is the original value.
    clamp
        Maximum of ‖δ‖ / ‖v‖.
    enough
        Loss at which an edit stops.
    """

    steps: int = 25
    learning_rate: float = 0.5
    kl_factor: float = 0.0625
    weight_decay: float = 0.5
    clamp: float = 4.0
    enough: float = 0.05

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 1:
            raise KCircuitsError(f"steps must be a whole number from 1 on, got {self.steps!r}")
        for name in ("learning_rate", "clamp"):
            if not 0 < getattr(self, name) < float("inf"):
                raise KCircuitsError(f"{name} must be above 0 and finite, got {getattr(self, name)!r}")
        for name in ("kl_factor", "weight_decay", "enough"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise KCircuitsError(f"{name} must be at least 0 and finite, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Values:
    """Keys and values of E edits at one layer.

    Parameters
    ----------
    key
        Mean input of w_down at the subject's last token over the prefixed prompts, [E, F].
    delta
        Change of w_down's output there, [E, D].
    loss
        The last −log p(target), averaged over prompts and target tokens, [E].
    failed
        Reasons by the edit's number, for edits whose optimisation diverged.
    """

    key: Tensor
    delta: Tensor
    loss: Tensor
    failed: dict[int, str]


def optimise_values(
    spec: ModelSpec,
    edits: Sequence[TokenisedEdit],
    layer: int,
    options: ValueOptions,
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """Compute keys and values of edits at the MLP of a layer. `progress` gets finished and all steps."""
    tokens = [sum(len(row) for row in _rows(edit)) for edit in edits]
    parts: list[Values] = []
    first = 0
    batches = []
    while first < len(edits):
        last, used = first + 1, tokens[first]
        while last < len(edits) and used + tokens[last] <= AT_ONCE:
            used += tokens[last]
            last += 1
        batches.append((first, last))
        first = last
    for number, (first, last) in enumerate(batches):

        def report(step: int, steps: int, done: int = number) -> None:
            if progress is not None:
                progress(done * steps + step, len(batches) * steps)

        parts.append(_Batch(spec, edits[first:last], layer, options).optimise(report))
    failed = {
        first + number: reason
        for (first, _), part in zip(batches, parts, strict=True)
        for number, reason in part.failed.items()
    }
    key, delta, loss = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("key", "delta", "loss")
    )
    return Values(key, delta, loss, failed)


def _rows(edit: TokenisedEdit) -> list[tuple[int, ...]]:
    """The prefixed prompts, each with the target except its last token, and the essence prompt."""
    return [each.ids + edit.target[:-1] for each in edit.prefixed or (edit.prompt,)] + [edit.essence.ids]


class _Batch:
    """Edits that are optimised together: E edits, N rows, T tokens."""

    def __init__(
        self, spec: ModelSpec, edits: Sequence[TokenisedEdit], layer: int, options: ValueOptions
    ) -> None:
        self.spec, self.layer, self.options, self.count = spec, layer, options, len(edits)
        rows: list[tuple[int, ...]] = []
        owner: list[int] = []  # the edit of each row
        subject: list[int] = []  # its subject's last position
        at: list[tuple[int, int, int, float]] = []  # row, position, target, weight in its edit's loss
        essence: list[int] = []
        for number, edit in enumerate(edits):
            prompts: Sequence[SubjectPrompt] = edit.prefixed or (edit.prompt,)
            for prompt in prompts:
                weight = 1 / (len(prompts) * len(edit.target))
                begin = len(prompt.ids) - 1
                at += [(len(rows), begin + i, token, weight) for i, token in enumerate(edit.target)]
                rows.append(prompt.ids + edit.target[:-1])
                owner.append(number)
                subject.append(prompt.subject_last)
            essence.append(len(rows))
            rows.append(edit.essence.ids)
            owner.append(number)
            subject.append(edit.essence.subject_last)
        device = spec.unembedding.device

        def numbers(values: Sequence[float | int]) -> Tensor:
            return torch.tensor(values, device=device)

        self.tokens: Tokens = pad_left(pad_right(rows, device))
        longest = self.tokens.ids.shape[1]
        shift = [longest - len(row) for row in rows]
        subject = [shift[row] + place for row, place in enumerate(subject)]
        # Positions before the first end of a subject never change.
        self.constant = min(subject)
        self.owner, self.subject = numbers(owner), numbers(subject)
        self.rows_of_loss = numbers([row for row, *_ in at])
        self.positions_of_loss = numbers([shift[row] + place - self.constant for row, place, *_ in at])
        self.targets, self.weights = numbers([each[2] for each in at]), numbers([each[3] for each in at])
        self.essence_rows = numbers(essence)
        with torch.no_grad():
            before = run_to_mlp(spec, self.tokens, layer)
            stream = finish_layer(spec, before, layer)
            self.earlier = cache_positions(spec, stream, self.tokens, layer + 1, self.constant)
        self.before = BeforeMlp(before.stream[:, self.constant :], before.hidden[:, self.constant :])
        # 1 for the prompts, 0 for the essence prompts.
        self.counts = torch.ones(len(rows), device=device)
        self.counts[self.essence_rows] = 0

    def key(self) -> Tensor:
        """Mean key of each edit, [E, F]."""
        rows = torch.arange(len(self.owner), device=self.owner.device)
        keys = self.before.hidden[rows, self.subject - self.constant] * self.counts[:, None]
        sums = keys.new_zeros(self.count, keys.shape[1]).index_add_(0, self.owner, keys)
        return sums / self.counts.new_zeros(self.count).index_add_(0, self.owner, self.counts)[:, None]

    def log_probabilities(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """With δ [E, D] at the subjects: log p at loss positions and at the essence prompts' ends, [n, V]."""
        added = torch.zeros_like(self.before.stream)
        rows = torch.arange(len(self.owner), device=added.device)
        added = added.index_put((rows, self.subject - self.constant), delta[self.owner])
        stream = finish_layer(self.spec, self.before, self.layer, added)
        final, _ = run_tail_to_end(self.spec, stream, self.tokens, self.earlier)
        asked = final[self.rows_of_loss, self.positions_of_loss]
        essence = final[self.essence_rows, -1]
        logits = read_out(self.spec, torch.cat([asked, essence])).float()
        found = functional.log_softmax(logits, dim=-1)
        return found[: len(asked)], found[len(asked) :]

    def losses(self, delta: Tensor, unedited: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and −log p(target) of each edit, both [E]."""
        asked, essence = self.log_probabilities(delta)
        of_targets = -asked.gather(1, self.targets[:, None])[:, 0] * self.weights
        edits = self.owner[self.rows_of_loss]
        nll = of_targets.new_zeros(self.count).index_add(0, edits, of_targets)
        divergence = (essence.exp() * (essence - unedited)).sum(dim=-1)
        # The norm has no gradient at 0, where the optimisation starts.
        length = (delta.square().sum(dim=-1) + 1e-20).sqrt()
        options = self.options
        total = nll + options.kl_factor * divergence + options.weight_decay * length / size.square()
        return total, nll

    def optimise(self, progress: Callable[[int, int], None]) -> Values:
        mlp, options = dense_mlp(self.spec.layers[self.layer]), self.options
        key = self.key()
        size = linear(key, mlp.w_down, None).norm(dim=-1)  # [E], ‖v‖
        delta = torch.zeros(self.count, self.spec.width, device=key.device, requires_grad=True)
        with torch.no_grad():
            unedited = self.log_probabilities(delta)[1]
        optimiser = torch.optim.Adam([delta], lr=options.learning_rate)
        running = torch.ones(self.count, dtype=torch.bool, device=key.device)
        first = last = torch.zeros(self.count)
        for step in range(options.steps):
            total, nll = self.losses(delta, unedited, size)
            last = torch.where(running, nll.detach(), last.to(nll.device))
            first = last if step == 0 else first
            finite = total.isfinite()
            running &= (total.detach() >= options.enough) & finite
            if not running.any():
                break
            optimiser.zero_grad()
            total[running].sum().backward()
            kept = delta.detach().clone()
            optimiser.step()
            with torch.no_grad():
                length = delta.norm(dim=-1)
                delta *= (options.clamp * size / length.clamp(min=1e-12)).clamp(max=1)[:, None]
                delta[~running] = kept[~running]
            progress(step + 1, options.steps)
        else:
            with torch.no_grad():
                last = torch.where(running, self.losses(delta, unedited, size)[1], last)
        progress(options.steps, options.steps)
        found = delta.detach()
        worse = ~(last.isfinite() & found.isfinite().all(dim=-1)) | (last > first)
        failed = {
            number: "the optimisation diverged: −log p of the target changed from "
            f"{float(first[number]):.3g} to {float(last[number]):.3g}"
            for number in worse.nonzero()[:, 0].tolist()
        }
        return Values(key, found, last, failed)
