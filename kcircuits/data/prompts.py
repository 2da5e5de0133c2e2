"""Read prompts from files, tokenise them, check them against the model, and pad them into a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from kcircuits.data.pairs_csv import csv_pairs, is_csv
from kcircuits.data.prompt_warnings import gather_warnings, warn_of_text
from kcircuits.data.records import parse_record
from kcircuits.data.tokens import TokenisedText, subject_span, tokenise_text
from kcircuits.data.tokens import answer_id as token_of_answer
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import prefix_errors, quote, read_text
from kcircuits.files.json_records import Record, parse_records

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """One tokenised prompt.

    Parameters
    ----------
    clean_ids
        Token ids of the prompt; the answer is predicted at the last one.
    answer_id
        Id of the correct next token.
    corrupt_ids
        Token ids of the corrupt prompt, as many as `clean_ids`; its activations replace those of removed
        edges (corrupt ablation). None if there is none.
    wrong_id
        Id of the wrong answer for the metric logit-diff, or None.
    text
        The clean text, or None if the prompt was given as ids.
    subject
        Span [start, stop) of the subject in `clean_ids`, or None.

    Raises
    ------
    KCircuitsError
        If there are no ids, clean and corrupt differ in length, answer and wrong are the same token, or the
        subject lies outside the prompt.
    """

    clean_ids: tuple[int, ...]
    answer_id: int
    corrupt_ids: tuple[int, ...] | None = None
    wrong_id: int | None = None
    text: str | None = None
    subject: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        length = len(self.clean_ids)
        if not length:
            raise KCircuitsError("the clean prompt has no tokens")
        if self.corrupt_ids is not None and len(self.corrupt_ids) != length:
            raise KCircuitsError(
                f"the clean prompt has {length} tokens and the corrupt one {len(self.corrupt_ids)}; "
                "reword one of them so that both have the same number"
            )
        if self.wrong_id == self.answer_id:
            raise KCircuitsError(f"the answer and the wrong answer are the same token, {self.answer_id}")
        if self.subject is not None and not 0 <= self.subject[0] < self.subject[1] <= length:
            raise KCircuitsError(f"the subject {self.subject} is not a span of {length} tokens")


@dataclass(frozen=True)
class PromptBatch:
    """N prompts of at most T tokens for the engine, left-padded, so that all end at position T - 1.

    Parameters
    ----------
    clean
        Token ids, int64 [N, T]; prompt n is the last `lengths[n]` ids of its row.
    lengths
        Number of tokens of each prompt, int64 [N].
    answers
        Answer ids, int64 [N].
    corrupt
        Token ids of the corrupt prompts, padded in the same way, int64 [N, T], or None.
    wrong
        Ids of the wrong answers, int64 [N], or None.
    """

    clean: Tensor
    lengths: Tensor
    answers: Tensor
    corrupt: Tensor | None
    wrong: Tensor | None


def tokenise(
    tokenizer: Any | None,
    clean: str,
    answer: str,
    *,
    vocab_size: int,
    max_positions: int,
    corrupt: str | None = None,
    wrong: str | None = None,
    subject: str | tuple[int, int] | None = None,
    allow_multi_token: bool = False,
) -> Prompt:
    """Tokenise one prompt given as text.

    Prompts begin with the special tokens that the model's tokenizer adds (BOS). An answer is the token that
    continues the clean prompt, with a space in between if neither text has one
    (`kcircuits.data.tokens.answer_id`).

    Parameters
    ----------
    tokenizer
        The model's Hugging Face tokenizer; None raises KCircuitsError.
    clean, answer, corrupt, wrong
        The texts.
    vocab_size, max_positions
        Sizes of the model's vocabulary and its longest prompt.
    subject
        The subject's text, or its characters [start, stop) in the clean text.
    allow_multi_token
        Use the first token of an answer that has several, instead of raising.

    Raises
    ------
    KCircuitsError
        If one of these cannot be used with the model; the message says which and why.

    Warns
    -----
    PromptWarning
        If a prompt ends in a space that belongs to the next word's token, or begins with the text of a
        special token that the tokenizer adds anyway (BOS).
    """
    if tokenizer is None:
        raise KCircuitsError(
            "this model has no tokenizer, so prompts must be ids: "
            '{"clean_ids": [...], "answer_id": ...} instead of "clean" and "answer"'
        )
    tokens = tokenise_text(tokenizer, clean, "clean")
    corrupted = None if corrupt is None else tokenise_text(tokenizer, corrupt, "corrupt")
    prompt = Prompt(
        clean_ids=tokens.ids,
        answer_id=token_of_answer(tokenizer, tokens, answer, "answer", allow_multi_token=allow_multi_token),
        corrupt_ids=None if corrupted is None else corrupted.ids,
        wrong_id=None
        if wrong is None
        else token_of_answer(tokenizer, tokens, wrong, "wrong", allow_multi_token=allow_multi_token),
        text=clean,
        subject=None if subject is None else subject_span(tokenizer, tokens, subject),
    )
    check_fits(prompt, vocab_size, max_positions)
    _warn(tokenizer, tokens, corrupted, answer)
    return prompt


def check_fits(prompt: Prompt, vocab_size: int, max_positions: int) -> None:
    """Raise KCircuitsError if the prompt is too long for a model or has ids outside its vocabulary."""
    if len(prompt.clean_ids) > max_positions:
        raise KCircuitsError(
            f"the prompt has {len(prompt.clean_ids)} tokens, but the model has {max_positions} positions; "
            "shorten it (prompts are never cut)"
        )
    ids = (*prompt.clean_ids, *(prompt.corrupt_ids or ()), prompt.answer_id)
    for token in ids if prompt.wrong_id is None else (*ids, prompt.wrong_id):
        if not 0 <= token < vocab_size:
            raise KCircuitsError(f"id {token} is not in the model's vocabulary, 0 to {vocab_size - 1}")


def read_prompts(
    path: str | Path,
    tokenizer: Any | None,
    vocab_size: int,
    max_positions: int,
    *,
    allow_multi_token: bool = False,
) -> tuple[Prompt, ...]:
    """Read prompts from a file: JSON lines, a JSON list, or CSV.

    A record is `{"clean": str, "corrupt": str?, "answer": str, "wrong": str?, "subject": str?}` or
    `{"clean_ids": [int], "corrupt_ids": [int]?, "answer_id": int, "wrong_id": int?}`; a file may mix both.
    Optional values may be null; blank lines are skipped. CSV files are those of `kcircuits.data.pairs_csv`.
    ROME's known facts (known_1000.json) are accepted too; their `attribute` is the answer.

    Parameters
    ----------
    path
        The file, UTF-8.
    tokenizer
        The model's Hugging Face tokenizer, or None if it has none (then all records must be ids).
    vocab_size, max_positions
        Sizes of the model's vocabulary and its longest prompt.
    allow_multi_token
        Use the first token of an answer that has several, instead of raising.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, has no prompts, or a record is invalid; the message names the file and
        the line, or the record of a JSON list.
    """
    with prefix_errors(path):
        text = read_text(path, "file of prompts", pipe=True)
        listed = None if is_csv(text) else parse_records(text, "file of prompts")
    prompts = []
    try:
        with gather_warnings():
            for where, record in csv_pairs(text) if listed is None else _check_records(listed):
                with prefix_errors(where):
                    prompts.append(
                        _make_prompt(record, tokenizer, vocab_size, max_positions, allow_multi_token)
                    )
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}, {error}") from error
    if not prompts:
        raise KCircuitsError(f"{path} has no prompts; write one JSON object per line")
    return tuple(prompts)


def make_prompts(
    given: Sequence[Any],
    tokenizer: Any | None,
    vocab_size: int,
    max_positions: int,
    *,
    allow_multi_token: bool = False,
) -> tuple[Prompt, ...]:
    """Prompts from Python values.

    Parameters
    ----------
    given
        One per prompt: a tuple (clean, answer) or (clean, answer, corrupt) of texts; a dict with the keys of
        a prompt file (`read_prompts`), text or ids; or a `Prompt`, which is checked against the model. If
        the corrupt text of a tuple is the clean text of another prompt in this list, the answer of that
        prompt is the wrong answer.
    tokenizer, vocab_size, max_positions, allow_multi_token
        As for `read_prompts`.

    Raises
    ------
    KCircuitsError
        If there is no prompt, or one cannot be used; the message says which and why.
    """
    if isinstance(given, str | Prompt | dict) or not isinstance(given, Iterable):
        raise KCircuitsError(
            f"prompts must be a list, got {quote(given)}: write model.prompts([(text, answer), …])"
        )
    made, tuples = [], []
    for number, each in enumerate(given, start=1):
        tuples.append(isinstance(each, tuple | list))
        with prefix_errors(f"prompt {number}"):
            if isinstance(each, Prompt):
                check_fits(each, vocab_size, max_positions)
                made.append(each)
            else:
                record = parse_record(_as_record(each))
                made.append(_make_prompt(record, tokenizer, vocab_size, max_positions, allow_multi_token))
    if not made:
        raise KCircuitsError("there are no prompts")
    answers = {prompt.clean_ids: prompt.answer_id for prompt in made}
    return tuple(
        _add_wrong_answer(prompt, answers) if is_tuple else prompt
        for prompt, is_tuple in zip(made, tuples, strict=True)
    )


def _add_wrong_answer(prompt: Prompt, answers: Mapping[tuple[int, ...], int]) -> Prompt:
    """Use the answer to the corrupt prompt as the wrong answer, if it is known and different."""
    wrong = None if prompt.corrupt_ids is None else answers.get(prompt.corrupt_ids)
    return prompt if wrong in (None, prompt.answer_id) else replace(prompt, wrong_id=wrong)


def _as_record(given: object) -> dict[str, Any]:
    if isinstance(given, dict):
        ids = {key: list(value) for key, value in given.items() if isinstance(value, tuple)}
        return {**given, **ids}
    if isinstance(given, str):
        raise KCircuitsError(
            f"{quote(given)} has no answer: write (text, answer), (text, answer, corrupt) or a dict with the "
            "keys of a prompt file"
        )
    if isinstance(given, tuple | list) and len(given) in (2, 3):
        return dict(zip(("clean", "answer", "corrupt"), given, strict=False))
    raise KCircuitsError(
        "must be (text, answer), (text, answer, corrupt) or a dict with the keys of a prompt file; got "
        f"{quote(given)}"
    )


def batch(prompts: Sequence[Prompt]) -> PromptBatch:
    """Put prompts into one left-padded batch, on the CPU.

    Parameters
    ----------
    prompts
        At least one; either all or none have a corrupt prompt, and likewise a wrong answer.

    Raises
    ------
    KCircuitsError
        If there is no prompt, or only some have a corrupt prompt or a wrong answer.

    Examples
    --------
    >>> both = batch([Prompt((5, 6, 7), answer_id=1), Prompt((8,), answer_id=2)])
    >>> both.clean
    tensor([[5, 6, 7],
            [0, 0, 8]])
    >>> both.lengths
    tensor([3, 1])
    """
    if not prompts:
        raise KCircuitsError("no prompts")
    corrupt = _all_or_none([prompt.corrupt_ids for prompt in prompts], "corrupt prompt")
    wrong = _all_or_none([prompt.wrong_id for prompt in prompts], "wrong answer")
    clean = [prompt.clean_ids for prompt in prompts]
    return PromptBatch(
        clean=_pad_left(clean),
        lengths=torch.tensor([len(ids) for ids in clean]),
        answers=torch.tensor([prompt.answer_id for prompt in prompts]),
        corrupt=None if corrupt is None else _pad_left(corrupt),
        wrong=None if wrong is None else torch.tensor(wrong),
    )


def _all_or_none(values: Sequence[T | None], name: str) -> list[T] | None:
    given = [value for value in values if value is not None]
    if given and len(given) < len(values):
        without = next(index for index, value in enumerate(values) if value is None)
        raise KCircuitsError(
            f"{len(given)} of {len(values)} prompts have a {name}, but prompt {without + 1} has none; "
            "give one to every prompt or to none"
        )
    return given or None


def _pad_left(rows: Sequence[tuple[int, ...]]) -> Tensor:
    """Right-aligned rows, int64 [N, T], padded with id 0, which no result may depend on."""
    longest = max(map(len, rows))
    return torch.tensor([(0,) * (longest - len(row)) + row for row in rows])


def _check_records(records: Sequence[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
    for record in records:
        with prefix_errors(record.where):
            checked = parse_record(record.require_object())
        yield record.where, checked


def _make_prompt(
    record: dict[str, Any],
    tokenizer: Any | None,
    vocab_size: int,
    max_positions: int,
    allow_multi_token: bool,
) -> Prompt:
    if "answer" in record:
        return tokenise(
            tokenizer,
            **record,
            vocab_size=vocab_size,
            max_positions=max_positions,
            allow_multi_token=allow_multi_token,
        )
    prompt = Prompt(**record) if "clean_ids" in record else _replace_answer_ids(tokenizer, **record)
    check_fits(prompt, vocab_size, max_positions)
    return prompt


def _replace_answer_ids(
    tokenizer: Any | None, *, clean: str, answer_id: int, wrong_id: int, corrupt: str | None = None
) -> Prompt:
    if tokenizer is None:
        raise KCircuitsError("this model has no tokenizer, so prompts must be ids in JSON lines")
    tokens = tokenise_text(tokenizer, clean, "clean")
    corrupted = None if corrupt is None else tokenise_text(tokenizer, corrupt, "corrupt")
    corrupt_ids = None if corrupted is None else corrupted.ids
    prompt = Prompt(tokens.ids, answer_id, corrupt_ids, wrong_id, text=clean)
    _warn(tokenizer, tokens, corrupted, tokenizer.decode([answer_id]))
    return prompt


def _warn(tokenizer: Any, clean: TokenisedText, corrupt: TokenisedText | None, answer: str) -> None:
    with gather_warnings():
        for text in (clean,) if corrupt is None else (clean, corrupt):
            warn_of_text(tokenizer, text, answer)
