"""The choice of prompts as options of the command line and of sweep files, and its prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from kcircuits.data.halves import Half, split_halves
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import OptionError, Options, given_options, option, options_of

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt
    from kcircuits.model.loading import Model

TOP_K = 10
SPLIT_SEED = 0
SOURCES = ("prompts", "relation", "prompt")
OF_HALVES = ("half", "split_seed")
_OF_RELATIONS = ("template", "limit", "shuffle_seed", "top_k")
_OF_ONE_PROMPT = ("answer", "corrupt", "wrong", "subject")

C = TypeVar("C", bound="PromptChoice")
Ranks = Callable[[Sequence["Prompt"]], Sequence[int]]
"""Function that returns the rank of each prompt's answer in the model's prediction."""


@dataclass(frozen=True)
class PromptChoice(Options):
    """Prompts from a file, from a relation, or one prompt as text; exactly one of the three.

    The fields are options (listed in `--help` and docs/sweeps.md). None means not given.

    Raises
    ------
    OptionError
        If a value has the wrong type, or options contradict each other.

    Examples
    --------
    >>> choice = PromptChoice(relation="country-language", limit=8)
    >>> choice.kind, choice.source
    ('relation', 'country-language')
    """

    title: ClassVar[str] = "Prompts"

    prompts: str | None = option(
        None, help="File of prompts: JSON lines, a JSON list, or CSV.", metavar="F.jsonl"
    )
    relation: str | None = option(
        None, help="Facts of a relation, from a file or a bundled relation.", metavar="F.json|NAME"
    )
    template: int | None = option(
        None, help="Number of the relation's template.", metavar="I", least=0, default_text="0"
    )
    limit: int | None = option(
        None, help="Use only the relation's first N facts.", metavar="N", least=1, default_text="all"
    )
    shuffle_seed: int | None = option(
        None, help="Shuffle the relation's facts first, with this seed.", metavar="S"
    )
    top_k: int | None = option(
        None,
        help="Use only facts whose answer is among the model's K most probable tokens; 0 uses all.",
        metavar="K",
        least=0,
        default_text=str(TOP_K),
    )
    prompt: str | None = option(None, help="One prompt, given as text.", metavar="TEXT")
    answer: str | None = option(None, help="The right answer to --prompt.", metavar="TEXT")
    corrupt: str | None = option(None, help="The corrupt partner of --prompt.", metavar="TEXT")
    wrong: str | None = option(None, help="A wrong answer to --prompt.", metavar="TEXT")
    subject: str | None = option(None, help="The part of --prompt that is its subject.", metavar="TEXT")
    first_token: bool = option(False, help="Take the first token of answers that have several.")
    half: Half | None = option(
        None, help="Use one half of the prompts, drawn at random.", default_text="all prompts"
    )
    split_seed: int | None = option(
        None,
        help="Random seed of the two halves.",
        metavar="S",
        least=0,
        default_text=f"{SPLIT_SEED}, or that of the circuit",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(f"`{name}`" for name in given) or "none"
            raise OptionError(f"give one of `prompts`, `relation` and `prompt`; got {got}")
        for owner, names in (("relation", _OF_RELATIONS), ("prompt", _OF_ONE_PROMPT)):
            for name in names:
                if owner not in given and getattr(self, name) is not None:
                    raise OptionError(f"`{name}` is for `{owner}` alone", name)
        if self.prompt is not None and self.answer is None:
            raise OptionError("`prompt` needs `answer`", "prompt")
        if self.split_seed is not None and not self.uses_halves:
            raise OptionError("`split_seed` needs a `half`", "split_seed")

    @property
    def kind(self) -> str:
        """The member of `SOURCES` that the prompts come from."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def source(self) -> str:
        """The file, the relation or the text that the prompts come from."""
        source: str = getattr(self, self.kind)
        return source

    @property
    def uses_halves(self) -> bool:
        """Whether the prompts are split into halves."""
        return self.half is not None

    @property
    def seed_of_halves(self) -> int:
        """The seed of the split."""
        return SPLIT_SEED if self.split_seed is None else self.split_seed

    @property
    def half_settings(self) -> dict[str, Any]:
        """The half in use, as recorded in results; empty if all prompts are used."""
        return {} if self.half is None else {"half": self.half, "split_seed": self.seed_of_halves}

    @property
    def given_options(self) -> dict[str, Any]:
        """The given options, as results record them under "input"; halves are recorded separately."""
        known = options_of(PromptChoice).keys() - set(OF_HALVES)
        return {name: value for name, value in given_options(self).items() if name in known}

    def split_as(self: C, settings: Mapping[str, Any]) -> C:
        """Split with the seed in the settings of a circuit, unless a seed was given.

        With another seed the halves would overlap.
        """
        seed = settings.get("split_seed")
        if self.split_seed is not None or type(seed) is not int or not self.uses_halves:
            return self
        return replace(self, split_seed=seed)


@dataclass(frozen=True)
class ChosenPrompts:
    """Prompts, and the number of samples that were left out, by reason."""

    prompts: tuple[Prompt, ...]
    dropped: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        count = len(self.prompts)
        text = f"{count} prompt{'s' if count != 1 else ''}"
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.dropped.items())
        return f"{text}; left out: {reasons}" if reasons else text


def choose(choice: PromptChoice, model: Model, ranks: Ranks, *, with_partners: bool) -> ChosenPrompts:
    """Get the prompts of a choice; a half is half of the prompts that would be used without it.

    Parameters
    ----------
    choice, model
        The choice, and the model whose tokenizer is used.
    ranks
        Determines which answers the model knows; called only for a relation with `top_k` above 0.
    with_partners
        Give the facts of a relation corrupt prompts and wrong answers (`TaskOptions.needs_partners`).

    Raises
    ------
    KCircuitsError
        If the source cannot be read, gives no prompt, or the model knows no answer.
    """
    chosen = choose_all(choice, model, ranks, with_partners=with_partners)
    if choice.half is None:
        return chosen
    half = half_of(chosen.prompts, choice.half, choice.seed_of_halves)
    others = len(chosen.prompts) - len(half)
    return ChosenPrompts(half, chosen.dropped | {"in the other half": others})


def choose_all(choice: PromptChoice, model: Model, ranks: Ranks, *, with_partners: bool) -> ChosenPrompts:
    """Get the prompts as `choose` does, before they are split into halves."""
    if choice.relation is not None:
        return _of_relation(choice, model, ranks, with_partners)
    from kcircuits.data.prompts import read_prompts, tokenise

    spec = model.spec
    if choice.prompts is not None:
        read = read_prompts(
            choice.prompts,
            model.tokenizer,
            spec.vocab_size,
            spec.max_positions,
            allow_multi_token=choice.first_token,
        )
        return ChosenPrompts(read)
    one = tokenise(
        model.tokenizer,
        choice.prompt or "",
        choice.answer or "",
        vocab_size=spec.vocab_size,
        max_positions=spec.max_positions,
        corrupt=choice.corrupt,
        wrong=choice.wrong,
        subject=choice.subject,
        allow_multi_token=choice.first_token,
    )
    return ChosenPrompts((one,))


def half_of(prompts: Sequence[Prompt], half: Half | None, seed: int) -> tuple[Prompt, ...]:
    """One half of the prompts, or all of them."""
    if half is None:
        return tuple(prompts)
    validation, test = split_halves(tuple(prompts), seed)
    return validation if half == "validation" else test


def _of_relation(choice: PromptChoice, model: Model, ranks: Ranks, with_partners: bool) -> ChosenPrompts:
    from kcircuits.data.relations import known_prompts, load_relation, relation_prompts

    spec = model.spec
    made = relation_prompts(
        load_relation(choice.relation or ""),
        model.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        template=choice.template or 0,
        shuffle_seed=choice.shuffle_seed,
        corrupt=with_partners,
        allow_multi_token=choice.first_token,
    )
    top_k = TOP_K if choice.top_k is None else choice.top_k
    if top_k == 0:
        return ChosenPrompts(made.prompts[: choice.limit], made.dropped)
    known = known_prompts(made.prompts, ranks(made.prompts), top_k)
    if not known:
        raise KCircuitsError(
            f"the model has none of the {len(made.prompts)} answers of {made.relation!r} among its {top_k} "
            "most probable tokens: use another template, a larger top_k, or a top_k of 0, which uses all"
        )
    unknown = len(made.prompts) - len(known)
    reason = {f"answer not in the model's top {top_k}": unknown} if unknown else {}
    return ChosenPrompts(known[: choice.limit], made.dropped | reason)
