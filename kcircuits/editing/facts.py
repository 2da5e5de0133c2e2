"""The fact of an edit as prompts for readings and circuits."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kcircuits.data.prompts import Prompt, tokenise
from kcircuits.editing.request import EditRequest
from kcircuits.editing.stream import final_rows, pad_right
from kcircuits.model.forward import read_out
from kcircuits.model.loading import Model


def fact_prompt(model: Model, request: EditRequest, answer: str) -> Prompt:
    """The edit's prompt with its subject, and the first token of an answer."""
    start = request.prompt.rindex(request.subject)
    return question_prompt(model, request.prompt, answer, (start, start + len(request.subject)))


def question_prompt(model: Model, prompt: str, answer: str, subject: tuple[int, int]) -> Prompt:
    """A prompt, the characters [start, stop) of its subject, and the first token of its answer."""
    return tokenise(
        model.tokenizer,
        prompt,
        answer,
        vocab_size=model.spec.vocab_size,
        max_positions=model.spec.max_positions,
        subject=subject,
        allow_multi_token=True,
    )


def old_prompt(original: Model, request: EditRequest) -> Prompt:
    """The fact before the edit: the true object or, if the request has none, the model's prediction."""
    if request.target_true is not None:
        return fact_prompt(original, request, request.target_true)
    prompt = fact_prompt(original, request, request.target)
    said = int(last_logits(original, [prompt])[0].argmax())
    return replace(prompt, answer_id=said)


@torch.no_grad()
def last_logits(model: Model, prompts: list[Prompt]) -> Tensor:
    """Logits at the last position of each prompt, float32 [N, V]."""
    tokens = pad_right([prompt.clean_ids for prompt in prompts], model.spec.unembedding.device)
    ends = torch.tensor([len(prompt.clean_ids) - 1 for prompt in prompts], device=tokens.ids.device)
    rows = final_rows(model.spec, tokens)[torch.arange(len(prompts), device=ends.device), ends]
    return read_out(model.spec, rows).float()


def subject_end(prompt: Prompt) -> int:
    """The position of the subject's last token; the prompt has a subject."""
    assert prompt.subject is not None
    return prompt.subject[1] - 1
