"""What a circuit is for: prompts, what takes an absent edge's place, the metric, and changes to the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from kcircuits.data.metrics import Metric
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Keys, check_format, check_keys, is_text, or_none, prefix_errors, quote
from kcircuits.runtime.option_fields import option
from kcircuits.task.task_options import Ablation, TaskOptions

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt
    from kcircuits.model.loading import Model
    from kcircuits.model.spec import ModelSpec

FORMAT = "kcircuits-task/1"


class WithSettings(Protocol):
    """A circuit or the scores of all edges: what says how it was found."""

    @property
    def settings(self) -> dict[str, Any]:
        """How it was found."""
        ...


@dataclass(frozen=True)
class _Prompts:
    """A base by itself, so that the prompts come before the options."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, repr=False)
class Task(TaskOptions, _Prompts):
    """Everything that says what is asked; methods and readings take it whole.

    Tasks with the same content are equal and have the same hash.

    Parameters
    ----------
    prompts
        At least one; they may differ in length. `Model.prompts` makes them from text.
    ablation
        Value that a removed edge carries: `zero`; its sender's output in a plain run on the `corrupt` prompt;
        or its sender's `mean` output in plain runs on the reference's clean prompts, over all their tokens,
        or over those at the same position, counted from the prompt's start (`mean-positional`). None takes
        corrupt where every prompt has a corrupt partner, and else zero.
    metric
        Metric to preserve (`kcircuits.data.metrics`); lower is better.
    reference
        Prompts for the mean ablations; none: those of the task.
    fold_value_biases
        Move value biases into the attention output's, which no ablation touches, as TransformerLens does.
    keep_positions
        Keep learned position embeddings in every stream, so that ablating `input` takes only the token
        embedding away, as EAP-IG's library does.

    Raises
    ------
    KCircuitsError
        If a name is unknown, there is no prompt, one is text, or a prompt lacks what the ablation or the
        metric needs, or is longer than all of the reference.

    Examples
    --------
    >>> from kcircuits.data.prompts import Prompt
    >>> Task([Prompt((1, 2), 3, corrupt_ids=(1, 4)), Prompt((5,), 6, corrupt_ids=(7,))])
    Task(2 prompts, ablation='corrupt', metric='nll')
    """

    # None is resolved when the task is made.
    ablation: Ablation = option(None, like=(TaskOptions, "ablation"))

    def __post_init__(self) -> None:
        for name in ("prompts", "reference"):
            object.__setattr__(self, name, _prompts(name, getattr(self, name)))
        if not self.prompts:
            raise KCircuitsError("there are no prompts")
        if self.ablation is None:
            paired = all(prompt.corrupt_ids is not None for prompt in self.prompts)
            object.__setattr__(self, "ablation", "corrupt" if paired else "zero")
        _check_name("ablation", self.ablation, get_args(Ablation))
        _check_name("metric", self.metric, get_args(Metric))
        for name in ("fold_value_biases", "keep_positions"):
            if type(getattr(self, name)) is not bool:
                raise KCircuitsError(f"{name} must be True or False, got {quote(getattr(self, name))}")
        for number, prompt in enumerate(self.prompts, start=1):
            if self.ablation == "corrupt" and prompt.corrupt_ids is None:
                raise KCircuitsError(
                    f"corrupt ablation needs a corrupt prompt for every prompt, and prompt {number} has "
                    "none: give one, or use zero ablation"
                )
            if self.metric == "logit-diff" and prompt.wrong_id is None:
                raise KCircuitsError(
                    "the metric logit-diff needs a wrong answer for every prompt, and prompt "
                    f"{number} has none: give one, or use nll or kl"
                )

        if self.ablation == "mean-positional" and self.reference:
            known = max(len(prompt.clean_ids) for prompt in self.reference)
            longest = max(len(prompt.clean_ids) for prompt in self.prompts)
            if longest > known:
                raise KCircuitsError(
                    f"mean-positional ablation has means for {known} positions, the reference's longest "
                    f"prompt, and a prompt has {longest} tokens: give a longer reference, or use mean"
                )

    @classmethod
    def of(cls, options: TaskOptions, prompts: Sequence[Prompt], reference: Sequence[Prompt] = ()) -> Task:
        """The task of some prompts with these options; `reference` takes the place of the options' own.

        Raises
        ------
        KCircuitsError
            If the task is bad.
        """
        chosen: dict[str, Any] = {each.name: getattr(options, each.name) for each in fields(TaskOptions)}
        return cls(tuple(prompts), **chosen | ({"reference": tuple(reference)} if reference else {}))

    @classmethod
    def from_file(
        cls, model: Model, path: str | Path, *, allow_multi_token: bool = False, **how: Any
    ) -> Task:
        """A task of the prompts in a file: JSON lines, a JSON list, or CSV.

        Parameters
        ----------
        model
            The model whose tokenizer is used.
        path
            The file (`kcircuits.data.prompts.read_prompts`).
        allow_multi_token
            Take the first token of an answer that has several, rather than raise.
        **how
            The other fields of a task.

        Raises
        ------
        KCircuitsError
            If the file or the task is bad.
        """
        from kcircuits.data.prompts import read_prompts

        spec = model.spec
        return cls(
            read_prompts(
                path,
                model.tokenizer,
                spec.vocab_size,
                spec.max_positions,
                allow_multi_token=allow_multi_token,
            ),
            **how,
        )

    @classmethod
    def from_relation(
        cls,
        model: Model,
        relation: str | Path,
        *,
        template: int = 0,
        limit: int | None = None,
        shuffle_seed: int | None = None,
        allow_multi_token: bool = False,
        **how: Any,
    ) -> Task:
        """A task of a relation's facts, each with another fact of it as its corrupt partner.

        Parameters
        ----------
        model
            The model whose tokenizer is used.
        relation
            A file in the LRE schema, or a bundled name such as "country-capital".
        template
            Which of the relation's templates.
        limit
            Use the first so many facts; by default all.
        shuffle_seed
            Shuffle the facts first.
        allow_multi_token
            Take the first token of an answer that has several, rather than leave the fact out.
        **how
            The other fields of a task.

        Raises
        ------
        KCircuitsError
            If there is no such relation, no fact of it gives a prompt, or the task is bad.
        """
        from kcircuits.data.relations import load_relation, relation_prompts

        if limit is not None and (type(limit) is not int or limit < 1):
            raise KCircuitsError(f"limit must be a whole number from 1 on, got {quote(limit)}")
        made = relation_prompts(
            load_relation(relation),
            model.tokenizer,
            model.spec.vocab_size,
            model.spec.max_positions,
            template=template,
            shuffle_seed=shuffle_seed,
            corrupt=True,
            allow_multi_token=allow_multi_token,
        )
        return cls(made.prompts[:limit], **how)

    @classmethod
    def as_found(
        cls,
        found: WithSettings,
        prompts: Sequence[Prompt],
        *,
        ablation: Ablation | None = None,
        metric: Metric | None = None,
        reference: Sequence[Prompt] = (),
    ) -> Task:
        """The task of some prompts that asks what a circuit, or scores, were found for.

        Parameters
        ----------
        found
            A circuit or scores. Ablation, metric and the changes to the graph are those of its settings
            ("zero", "nll" and no change where it does not say).
        prompts
            The prompts that it was found on, or others.
        ablation, metric
            Others than those.
        reference
            As for `Task`.

        Raises
        ------
        KCircuitsError
            If the means would be of other prompts than when it was found, or the task is bad.
        """
        given = found.settings
        how = ablation or given.get("ablation", "zero")
        if str(how).startswith("mean") and given.get("num_reference") and not reference:
            raise KCircuitsError(
                "it was found with reference prompts for mean ablation, and without them the means are "
                "others: give them again (--reference-prompts)"
            )
        return cls(
            tuple(prompts),
            how,
            metric or given.get("metric", "nll"),
            tuple(reference),
            fold_value_biases=given.get("fold_value_biases") is True,
            keep_positions=given.get("keep_positions") is True,
        )

    @property
    def is_mean(self) -> bool:
        """Whether absent edges carry a mean."""
        return self.ablation in ("mean", "mean-positional")

    @property
    def settings(self) -> dict[str, Any]:
        """What the settings of a circuit or of scores say of the task."""
        return {
            "ablation": self.ablation,
            "metric": self.metric,
            "fold_value_biases": self.fold_value_biases,
            "keep_positions": self.keep_positions,
            "num_prompts": len(self.prompts),
            **({"num_reference": len(self.reference)} if self.reference else {}),
        }

    def transform_spec(self, spec: ModelSpec) -> ModelSpec:
        """A model with the task's changes to the graph; raises KCircuitsError if one is not possible."""
        from kcircuits.model.transforms import transform_spec

        return transform_spec(
            spec, fold_value_biases=self.fold_value_biases, keep_positions=self.keep_positions
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, prompts as ids; `from_json` reads it."""
        return {
            "format": FORMAT,
            "prompts": [_written(prompt) for prompt in self.prompts],
            "ablation": self.ablation,
            "metric": self.metric,
            "reference": [_written(prompt) for prompt in self.reference],
            "fold_value_biases": self.fold_value_biases,
            "keep_positions": self.keep_positions,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """Read what `to_json` made.

        Raises
        ------
        KCircuitsError
            If it is no task, comes from a newer version, or the task is bad.
        """
        check_format(document.get("format") if isinstance(document, Mapping) else None, FORMAT, "task")
        given = {
            name: value
            for name, value in check_keys("the task", dict(document), _KEYS).items()
            if name in _KEYS
        }
        for name in ("prompts", "reference"):
            made = []
            for number, each in enumerate(given[name], start=1):
                with prefix_errors(f"{name}, {number}"):
                    made.append(_read(each))
            given[name] = tuple(made)
        return cls(**given)

    def __repr__(self) -> str:
        count = len(self.prompts)
        told = [f"{count:,} prompt{'s' if count != 1 else ''}"]
        told += [f"ablation={self.ablation!r}", f"metric={self.metric!r}"]
        if self.reference:
            told.append(f"{len(self.reference):,} reference prompts")
        told += [f"{name}=True" for name in ("fold_value_biases", "keep_positions") if getattr(self, name)]
        return f"Task({', '.join(told)})"


def _prompts(name: str, given: Any) -> tuple[Prompt, ...]:
    """A tuple of prompts; refuses text, which is the most common mistake."""
    from kcircuits.data.prompts import Prompt

    made = (given,) if isinstance(given, str | Prompt) else given
    if not isinstance(made, Sequence):
        raise KCircuitsError(f"{name} must be a sequence of prompts, got {quote(given)}")
    for each in made:
        if not isinstance(each, Prompt):
            raise KCircuitsError(
                f"{name} must be prompts, got {quote(each)}: make them with "
                "model.prompts([(text, answer), …])"
            )
    return tuple(made)


def _is_bool(value: object) -> bool:
    return type(value) is bool


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_id(value: object) -> bool:
    return type(value) is int


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


_KEYS: Keys = {
    "prompts": (_is_list, "a list"),
    "ablation": (is_text, "text"),
    "metric": (is_text, "text"),
    "reference": (_is_list, "a list"),
    "fold_value_biases": (_is_bool, "true or false"),
    "keep_positions": (_is_bool, "true or false"),
}
_PROMPT_KEYS: Keys = {
    "clean_ids": (_are_ids, "a list of ids"),
    "answer_id": (_is_id, "a token id"),
    "corrupt_ids": (or_none(_are_ids), "a list of ids"),
    "wrong_id": (or_none(_is_id), "a token id"),
    "text": (or_none(is_text), "text"),
    "subject": (or_none(_are_ids), "two places"),
}


def _written(prompt: Prompt) -> dict[str, Any]:
    values = {name: getattr(prompt, name) for name in _PROMPT_KEYS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read(given: object) -> Prompt:
    from kcircuits.data.prompts import Prompt

    whole = dict.fromkeys(_PROMPT_KEYS) | (given if isinstance(given, dict) else {})
    values = check_keys("a prompt", whole, _PROMPT_KEYS)
    if values["subject"] is not None and len(values["subject"]) != 2:
        raise KCircuitsError(f"'subject' must be two places, got {quote(values['subject'])}")
    made: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Prompt(**{name: made[name] for name in _PROMPT_KEYS})


def _check_name(kind: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise KCircuitsError(f"{kind} must be one of {', '.join(known)}; got {value!r}")
