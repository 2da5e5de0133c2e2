"""Measures of edits, as in ROME (arXiv 2202.05262) and EasyEdit (arXiv 2308.07269)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice
from statistics import fmean

import torch
from torch import Tensor

from kcircuits.analysis.knockout.text_windows import MOST_NATS, windows_of
from kcircuits.data.tokens import answer_ids, tokenise_text
from kcircuits.editing.request import EditRequest, Question
from kcircuits.editing.sampling import sample_tokens
from kcircuits.editing.stream import final_rows, pad_right
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import read_out
from kcircuits.model.loading import Model

AT_ONCE = 64  # questions that are run together
GENERATED = 40  # tokens
WINDOW = 128  # tokens of a text
WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class EditMeasures:
    """Measures of one edit; None if the request has no data for a measure.

    Parameters
    ----------
    efficacy, paraphrase
        Whether the target is more probable than the true object after the prompt, and the share of
        paraphrases where it is.
    specificity
        Share of neighbours whose right answer is still more probable than the target.
    magnitude
        p(target) − p(true) after the prompt.
    reliability, generalisation, portability
        Whether the model predicts the target (each token ranks first) after the prompt, the share of
        paraphrases where it does, and the share of portability questions that it answers.
    locality
        Share of neighbours where the model's prediction is unchanged.
    fluency
        Entropy of token pairs and triples in a text that the model generates from the prompt, in bits. It is
        low for repetitive text.
    """

    efficacy: float | None
    paraphrase: float | None
    specificity: float | None
    magnitude: float | None
    reliability: float
    generalisation: float | None
    locality: float | None
    portability: float | None
    fluency: float | None

    @property
    def score(self) -> float | None:
        """Harmonic mean of efficacy, paraphrase and specificity."""
        return harmonic_mean([self.efficacy, self.paraphrase, self.specificity])


def harmonic_mean(parts: Sequence[float | None]) -> float | None:
    """Harmonic mean; 0 if a part is 0, None if a part is None.

    Examples
    --------
    >>> harmonic_mean([1.0, 0.5, 0.5])
    0.6
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return 0.0 if 0.0 in known else len(known) / math.fsum(1 / part for part in known)


def mean_measures(found: Sequence[EditMeasures]) -> dict[str, float | None]:
    """Means over edits by name, each over the edits that have it. The score is computed from the means."""
    means: dict[str, float | None] = {}
    for field in fields(EditMeasures):
        known = [value for each in found if (value := getattr(each, field.name)) is not None]
        means[field.name] = fmean(known) if known else None
    means["score"] = harmonic_mean([means[name] for name in ("efficacy", "paraphrase", "specificity")])
    return means


def measure_edit(
    edited: Model, original: Model, request: EditRequest, seed: int = 0, generated: int = GENERATED
) -> EditMeasures:
    """Measure one edit.

    Parameters
    ----------
    edited, original
        The model with and without the edit.
    request
        The edit and its questions.
    seed, generated
        Random seed and number of tokens of the text for fluency, which takes most of the time. With 0 tokens,
        fluency is not measured.
    """
    prompts = [request.prompt, *request.paraphrases]
    neighbours = list(request.neighbours)
    new, true, kept, taken, ported = _groups(
        edited,
        [Question(prompt, request.target) for prompt in prompts],
        [Question(prompt, request.target_true) for prompt in prompts if request.target_true is not None],
        neighbours,
        [Question(each.prompt, request.target) for each in neighbours],
        list(request.portability),
    )
    before = read_answers(original, neighbours)
    won = [a.probability > b.probability for a, b in zip(new, true, strict=True)] if true else None
    return EditMeasures(
        efficacy=None if won is None else float(won[0]),
        paraphrase=_mean(won[1:]) if won is not None else None,
        specificity=_mean([a.probability > b.probability for a, b in zip(kept, taken, strict=True)]),
        magnitude=new[0].probability - true[0].probability if true else None,
        reliability=float(new[0].said),
        generalisation=_mean([each.said for each in new[1:]]),
        locality=_mean([a.choices == b.choices for a, b in zip(kept, before, strict=True)]),
        portability=_mean([each.said for each in ported]),
        fluency=fluency(edited, request.prompt, seed, generated) if generated else None,
    )


def margin(model: Model, request: EditRequest) -> float | None:
    """log p(target) − log p(true) after the prompt, in nats, each a mean over tokens; or None.

    For objects of one token this is the difference of their logits. None if the request has no true object.
    """
    if request.target_true is None:
        return None
    answers = (request.target, request.target_true)
    new, true = read_answers(model, [Question(request.prompt, answer) for answer in answers])
    return new.log_probability - true.log_probability


@dataclass(frozen=True)
class ModelAnswer:
    """A model's answer to a question.

    `probability` is the geometric mean of the probabilities of the answer's tokens, `log_probability` its
    logarithm. `choices` are the model's most likely tokens at these positions, `said` whether they are the
    answer.
    """

    probability: float
    choices: tuple[int, ...]
    said: bool
    log_probability: float


@torch.no_grad()
def read_answers(model: Model, questions: Sequence[Question]) -> list[ModelAnswer]:
    """Read the probabilities of the answers to some questions."""
    found: list[ModelAnswer] = []
    for first in range(0, len(questions), AT_ONCE):
        asked = [_tokenise(model, each) for each in questions[first : first + AT_ONCE]]
        texts = list(dict.fromkeys(p + a[:-1] for p, a in asked))  # each is run once for all its answers
        rows = final_rows(model.spec, pad_right(texts, model.spec.unembedding.device))
        of_text = dict(zip(texts, rows, strict=True))
        for prompt, answer in asked:
            row = of_text[prompt + answer[:-1]]
            logits = read_out(model.spec, row[len(prompt) - 1 : len(prompt) - 1 + len(answer)]).float()
            ids = torch.tensor(answer, device=logits.device)
            log = logits.log_softmax(dim=-1).gather(1, ids[:, None])
            choices = tuple(logits.argmax(dim=-1).tolist())
            mean = log.mean()
            found.append(ModelAnswer(float(mean.exp()), choices, choices == answer, float(mean)))
    return found


def _groups(model: Model, *groups: list[Question]) -> list[list[ModelAnswer]]:
    """`read_answers` of several lists, run together."""
    found = iter(read_answers(model, [each for group in groups for each in group]))
    return [list(islice(found, len(group))) for group in groups]


def fluency(model: Model, prompt: str, seed: int, generated: int = GENERATED) -> float:
    """⅓ of the entropy of token pairs plus ⅔ of that of triples, in bits, in text generated from the prompt.

    ROME's measure has the same weights, but uses words of longer texts.
    """
    tokens = tokenise_text(model.tokenizer, prompt, "prompt").ids
    length = min(generated, model.spec.max_positions - len(tokens))
    ids = sample_tokens(model.spec, [tokens], length, seed)[0, len(tokens) :].tolist()
    return entropy(ids, 2) / 3 + 2 * entropy(ids, 3) / 3


def entropy(tokens: Sequence[int], size: int) -> float:
    """Entropy of the n-grams of a text, in bits.

    Examples
    --------
    >>> entropy([1, 2, 1, 2, 1], 2)
    1.0
    """
    counts = Counter(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
    total = counts.total()
    return -math.fsum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0


@torch.no_grad()
def perplexity(model: Model, text: str) -> float:
    """exp of the mean −log p of a text's tokens, in windows of 128 tokens that do not overlap.

    Each window begins with BOS if the tokenizer has one. Otherwise its first token is not predicted.
    Raises KCircuitsError if the text is too short to predict anything.
    """
    windows = windows_of(model.tokenizer, text, model.spec, None, WINDOW)
    total = 0.0
    for first in range(0, len(windows.prompts), WINDOWS_AT_ONCE):
        some = windows.prompts[first : first + WINDOWS_AT_ONCE]
        tokens = pad_right([prompt.clean_ids for prompt in some], model.spec.unembedding.device)
        for row, prompt, mask in zip(final_rows(model.spec, tokens), some, tokens.mask, strict=True):
            logits: Tensor = read_out(model.spec, row[mask][windows.first - 1 :]).float()
            following = torch.tensor(windows.targets(prompt), device=logits.device)
            total -= float(logits.log_softmax(dim=-1).gather(1, following[:, None]).double().sum())
    mean = total / windows.num_predicted
    if not mean <= MOST_NATS:
        raise KCircuitsError(f"the perplexity of the text overflows: it is exp({mean:.0f})")
    return math.exp(mean)


def _tokenise(model: Model, question: Question) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if model.tokenizer is None:
        raise KCircuitsError("this model has no tokenizer, and questions are given as text")
    prompt = tokenise_text(model.tokenizer, question.prompt, "prompt")
    return prompt.ids, answer_ids(model.tokenizer, prompt, question.answer, "answer")


def _mean(values: Sequence[bool]) -> float | None:
    return fmean(values) if values else None
