"""Prompts from the options about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kcircuits.data.halves import Half, split_halves
from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt
    from kcircuits.model.loading import Model

TOP_K = 10
SPLIT_SEED = 0
_ABOUT_HALVES = ("half", "halves", "split_seed")  # recorded by themselves


@dataclass(frozen=True)
class Source:
    """The options that say which prompts; exactly one of `prompts`, `relation`, `prompt` is given.

    `halves`: all prompts are used, and looked at by halves.
    """

    prompts: str | None
    relation: str | None
    template: int | None
    limit: int | None
    shuffle_seed: int | None
    top_k: int | None
    prompt: str | None
    answer: str | None
    corrupt: str | None
    wrong: str | None
    first_token: bool
    half: Half | None = None
    halves: bool = False
    split_seed: int | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("prompts", "relation", "prompt") if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(f"--{name}" for name in given) or "none"
            raise KCircuitsError(f"give one of --prompts, --relation and --prompt; got {got}")
        self._belong("relation", "template", "limit", "shuffle_seed", "top_k")
        self._belong("prompt", "answer", "corrupt", "wrong", "subject")
        if self.prompt is not None and self.answer is None:
            raise KCircuitsError("--prompt needs --answer")
        if self.top_k is not None and self.top_k < 0:
            raise KCircuitsError(f"--top-k must be at least 0, got {self.top_k}")
        if self.half is not None and self.halves:
            raise KCircuitsError("--halves measures both halves; leave --half out")
        if self.split_seed is not None and self.half is None and not self.halves:
            raise KCircuitsError("--split-seed needs a half to choose")

    @property
    def seed_of_halves(self) -> int:
        """The seed that the prompts are split with."""
        return SPLIT_SEED if self.split_seed is None else self.split_seed

    @property
    def half_settings(self) -> dict[str, Any]:
        """Which half is used, as a result records it; nothing where all prompts are."""
        return {} if self.half is None else {"half": self.half, "split_seed": self.seed_of_halves}

    def given(self, model: str, **more: Any) -> dict[str, Any]:
        """The model and the options that were given, as a result records them under "input"."""
        own = {name: value for name, value in vars(self).items() if name not in _ABOUT_HALVES}
        return {
            name: value
            for name, value in {"model": model, **own, **more}.items()
            if value is not None and value is not False
        }

    def split_as(self, settings: dict[str, Any]) -> Source:
        """Split as these settings of a circuit say, unless a seed was given: other halves would overlap."""
        seed = settings.get("split_seed")
        if self.split_seed is not None or type(seed) is not int or not (self.half or self.halves):
            return self
        return replace(self, split_seed=seed)

    def _belong(self, owner: str, *names: str) -> None:
        for name in names:
            if getattr(self, owner) is None and getattr(self, name) is not None:
                raise KCircuitsError(f"--{name.replace('_', '-')} is for --{owner} alone")


@dataclass(frozen=True)
class Chosen:
    """Prompts, and how many of the source's samples were left out, by reason."""

    prompts: tuple[Prompt, ...]
    dropped: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        count = len(self.prompts)
        text = f"{count} prompt{'s' if count != 1 else ''}"
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.dropped.items())
        return f"{text}; left out: {reasons}" if reasons else text


def choose(source: Source, model: Model, *, with_partners: bool, memory: str | None) -> Chosen:
    """The prompts that the options ask for.

    `with_partners` gives the facts of a relation corrupt prompts and wrong answers. A half is one of the
    prompts that would be used without it.
    """
    chosen = _all_prompts(source, model, with_partners, memory)
    if source.half is None:
        return chosen
    validation, test = split_halves(chosen.prompts, source.seed_of_halves)
    half, other = (validation, test) if source.half == "validation" else (test, validation)
    return Chosen(half, chosen.dropped | {"in the other half": len(other)})


def _all_prompts(source: Source, model: Model, with_partners: bool, memory: str | None) -> Chosen:
    if source.relation is not None:
        return _of_relation(source, model, with_partners, memory)
    from kcircuits.data.prompts import read_prompts, tokenise

    spec = model.spec
    if source.prompts is not None:
        read = read_prompts(
            source.prompts,
            model.tokenizer,
            spec.vocab_size,
            spec.max_positions,
            allow_multi_token=source.first_token,
        )
        return Chosen(read)
    one = tokenise(
        model.tokenizer,
        source.prompt or "",
        source.answer or "",
        vocab_size=spec.vocab_size,
        max_positions=spec.max_positions,
        corrupt=source.corrupt,
        wrong=source.wrong,
        subject=source.subject,
        allow_multi_token=source.first_token,
    )
    return Chosen((one,))


def _of_relation(source: Source, model: Model, with_partners: bool, memory: str | None) -> Chosen:
    from kcircuits.data.relations import known_prompts, load_relation, relation_prompts
    from kcircuits.evaluation import answer_ranks

    if source.limit is not None and source.limit < 1:
        raise KCircuitsError(f"--limit must be at least 1, got {source.limit}")
    spec = model.spec
    made = relation_prompts(
        load_relation(source.relation or ""),
        model.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        template=source.template or 0,
        shuffle_seed=source.shuffle_seed,
        corrupt=with_partners,
        allow_multi_token=source.first_token,
    )
    top_k = TOP_K if source.top_k is None else source.top_k
    if top_k == 0:
        return Chosen(made.prompts[: source.limit], made.dropped)
    known = known_prompts(made.prompts, answer_ranks(model, made.prompts, memory), top_k)
    if not known:
        raise KCircuitsError(
            f"the model has none of the {len(made.prompts)} answers of {made.relation!r} among its {top_k} "
            "most probable tokens: take another --template, a larger --top-k, or --top-k 0"
        )
    unknown = len(made.prompts) - len(known)
    reason = {f"answer not in the model's top {top_k}": unknown} if unknown else {}
    return Chosen(known[: source.limit], made.dropped | reason)
