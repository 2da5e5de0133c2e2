"""What an edit achieved and broke: measures of ROME (arXiv 2202.05262) and of EasyEdit (arXiv 2308.07269)."""

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
    """One edit; None where the request has nothing to measure it with.

    Parameters
    ----------
    efficacy, paraphrase
        Whether the target is more probable than what was true, behind the prompt; and behind what share of
        the paraphrases.
    specificity
        In what share of the neighbours the right answer is still more probable than the target.
    magnitude
        p(target) − p(true) behind the prompt.
    reliability, generalisation, portability
        Whether the target is what the model says (every token its first choice): behind the prompt, behind
        what share of the paraphrases; and what share of the portability questions it answers.
    locality
        In what share of the neighbours the model says what it said before.
    fluency
        Entropy of the words' pairs and triples in a text that the model writes behind the prompt, in bits;
        low where it repeats itself.
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
    """Harmonic mean; 0 if a part is, and None if one is.

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
    """Means over edits by name, each over those that have it; the score is that of the means."""
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
        The model with the edit and without.
    request
        The edit and its questions.
    seed, generated
        Of the text whose fluency is measured, and its tokens: most of the time goes there. With 0 there is no
        fluency.
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
    """log p(target) − log p(true) behind the prompt, in nats, each a mean over tokens; or None.

    For objects of one token this is the difference of their logits. None where no object is said to be true.
    """
    if request.target_true is None:
        return None
    answers = (request.target, request.target_true)
    new, true = read_answers(model, [Question(request.prompt, answer) for answer in answers])
    return new.log_probability - true.log_probability


@dataclass(frozen=True)
class ModelAnswer:
    """What a model makes of a question.

    `probability` is the geometric mean of the answer's tokens', `log_probability` its logarithm; `choices`
    are the tokens that the model puts first at their places, `said` whether these are the answer.
    """

    probability: float
    choices: tuple[int, ...]
    said: bool
    log_probability: float


@torch.no_grad()
def read_answers(model: Model, questions: Sequence[Question]) -> list[ModelAnswer]:
    """How probable the answers to some questions are."""
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
    """⅓ of the entropy of token pairs and ⅔ of that of triples, in bits, in some tokens behind the prompt.

    ROME's measure weighs them likewise, over words of longer texts.
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

    Every window begins with BOS, where the tokenizer has one; without, its first token is not predicted.
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
        raise KCircuitsError(f"the perplexity of the text is beyond all numbers: exp of {mean:.0f}")
    return math.exp(mean)


def _tokenise(model: Model, question: Question) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if model.tokenizer is None:
        raise KCircuitsError("this model has no tokenizer, and questions are given as text")
    prompt = tokenise_text(model.tokenizer, question.prompt, "prompt")
    return prompt.ids, answer_ids(model.tokenizer, prompt, question.answer, "answer")


def _mean(values: Sequence[bool]) -> float | None:
    return fmean(values) if values else None
