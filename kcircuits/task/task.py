"""The task of a circuit: prompts, the value of removed edges, the metric, and changes to the graph."""

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
    """An object with the settings of its method: a circuit, or the scores of all edges."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the method that found it."""
        ...


@dataclass(frozen=True)
class _Prompts:
    """A separate base class, so that the field `prompts` comes before the options."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, repr=False)
class Task(TaskOptions, _Prompts):
    """The behaviour to explain: prompts, ablation and metric. Methods and readings take a task.

    Tasks with equal content are equal and have the same hash.

    Parameters
    ----------
    prompts
        At least one prompt; they may differ in length. `Model.prompts` creates them from text.
    ablation
        Value that a removed edge carries: `zero`; the output of its sender in a plain run on the corrupt
        prompt (`corrupt`); or the mean output of its sender in plain runs on the clean prompts of the
        reference, over all tokens (`mean`) or over the tokens at the same position, counted from the start of
        the prompt (`mean-positional`). None means corrupt if every prompt has a corrupt
        prompt, otherwise zero.
    metric
        Metric to preserve (`kcircuits.data.metrics`); lower is better.
    reference
        Prompts for the mean ablations; by default those of the task.
    fold_value_biases
        Move value biases into the attention output bias, which is never ablated, as in TransformerLens.
    keep_positions
        Keep learned position embeddings in every stream, so that ablating `input` removes only the token
        embedding, as in EAP-IG's library.

    Raises
    ------
    KCircuitsError
        If a name is unknown, there is no prompt, a prompt is text, a prompt lacks its corrupt prompt or wrong
        answer although the ablation or metric needs it, or, for mean-positional ablation, a prompt is longer
        than all reference prompts.

    Examples
    --------
    >>> from kcircuits.data.prompts import Prompt
    >>> Task([Prompt((1, 2), 3, corrupt_ids=(1, 4)), Prompt((5,), 6, corrupt_ids=(7,))])
    Task(2 prompts, ablation='corrupt', metric='nll')
    """

    # `__post_init__` replaces None.
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
                    f"corrupt ablation needs a corrupt prompt for every prompt, but prompt {number} has "
                    "none: give one, or use zero ablation"
                )
            if self.metric == "logit-diff" and prompt.wrong_id is None:
                raise KCircuitsError(
                    "the metric logit-diff needs a wrong answer for every prompt, but prompt "
                    f"{number} has none: give one, or use nll or kl"
                )

        if self.ablation == "mean-positional" and self.reference:
            known = max(len(prompt.clean_ids) for prompt in self.reference)
            longest = max(len(prompt.clean_ids) for prompt in self.prompts)
            if longest > known:
                raise KCircuitsError(
                    f"mean-positional ablation has means for the {known} positions of the longest reference "
                    f"prompt, but a prompt has {longest} tokens: give longer reference prompts, or use mean"
                )

    @classmethod
    def of(cls, options: TaskOptions, prompts: Sequence[Prompt], reference: Sequence[Prompt] = ()) -> Task:
        """Build a task from prompts and options; `reference`, if given, replaces that of the options.

        Raises
        ------
        KCircuitsError
            If the task is invalid.
        """
        chosen: dict[str, Any] = {each.name: getattr(options, each.name) for each in fields(TaskOptions)}
        return cls(tuple(prompts), **chosen | ({"reference": tuple(reference)} if reference else {}))

    @classmethod
    def from_file(
        cls, model: Model, path: str | Path, *, allow_multi_token: bool = False, **how: Any
    ) -> Task:
        """Build a task from the prompts in a file: JSON lines, a JSON list, or CSV.

        Parameters
        ----------
        model
            The model whose tokenizer is used.
        path
            The file (`kcircuits.data.prompts.read_prompts`).
        allow_multi_token
            Use the first token of an answer that has several, instead of raising.
        **how
            The other fields of a task.

        Raises
        ------
        KCircuitsError
            If the file or the task is invalid.
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
        """Build a task from the facts of a relation; another fact is the corrupt prompt of each.

        Parameters
        ----------
        model
            The model whose tokenizer is used.
        relation
            A file in the LRE schema, or a bundled name such as "country-capital".
        template
            Index of one of the templates of the relation.
        limit
            Maximum number of facts; by default all.
        shuffle_seed
            Shuffle the facts with this seed first.
        allow_multi_token
            Use the first token of an answer that has several, instead of dropping the fact.
        **how
            The other fields of a task.

        Raises
        ------
        KCircuitsError
            If there is no such relation, none of its facts gives a prompt, or the task is invalid.
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
        """Build a task from prompts and the settings with which a circuit or scores were found.

        Parameters
        ----------
        found
            A circuit or scores. Its settings determine ablation, metric and the changes to the graph; missing
            settings mean "zero", "nll" and no change.
        prompts
            The prompts on which it was found, or others.
        ablation, metric
            Replace those of the settings.
        reference
            As for `Task`.

        Raises
        ------
        KCircuitsError
            If it was found with reference prompts, which are missing now, or the task is invalid.
        """
        given = found.settings
        how = ablation or given.get("ablation", "zero")
        if str(how).startswith("mean") and given.get("num_reference") and not reference:
            raise KCircuitsError(
                "it was found with reference prompts for mean ablation, and without them the means "
                "differ: give the same reference prompts (--reference-prompts)"
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
        """The settings of the task that circuits and scores record."""
        return {
            "ablation": self.ablation,
            "metric": self.metric,
            "fold_value_biases": self.fold_value_biases,
            "keep_positions": self.keep_positions,
            "num_prompts": len(self.prompts),
            **({"num_reference": len(self.reference)} if self.reference else {}),
        }

    def transform_spec(self, spec: ModelSpec) -> ModelSpec:
        """Apply the task's changes to the graph of a model; raises KCircuitsError if one is impossible."""
        from kcircuits.model.transforms import transform_spec

        return transform_spec(
            spec, fold_value_biases=self.fold_value_biases, keep_positions=self.keep_positions
        )

    def to_json(self) -> dict[str, Any]:
        """The task as JSON values, with prompts as ids; `from_json` reads them."""
        return {
            "format": FORMAT,
            "prompts": [_prompt_to_json(prompt) for prompt in self.prompts],
            "ablation": self.ablation,
            "metric": self.metric,
            "reference": [_prompt_to_json(prompt) for prompt in self.reference],
            "fold_value_biases": self.fold_value_biases,
            "keep_positions": self.keep_positions,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """Build a task from the output of `to_json`.

        Raises
        ------
        KCircuitsError
            If it is not a task, comes from a newer version, or is invalid.
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
                    made.append(_prompt_from_json(each))
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
    """Check and convert to a tuple of prompts; text is the most common mistake."""
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


def _prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    values = {name: getattr(prompt, name) for name in _PROMPT_KEYS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _prompt_from_json(given: object) -> Prompt:
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
