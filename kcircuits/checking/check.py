"""Check how a model is read: every part of its files that was used or ignored, and its logits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from kcircuits.checking.comparison import (
    TOLERANCE,
    Comparison,
    Difference,
    compare_ids,
    compare_logits,
    of_spec,
    of_transformers,
)
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import printable
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Keys, check_keys, is_object, is_text, list_of, or_none
from kcircuits.model.gguf.conversion import account_of
from kcircuits.model.gguf.file import GgufAccount
from kcircuits.model.loading import Model, load_model, source_path
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

TEXTS = (
    "The official language of France is",
    "Anna's café – 3.14 % of 1,234 naïve users;\n\tshe said: 'DON'T!'",
    "def total(items):\n    return sum(item.price for item in items)\n",
    " ½ cup of ١٩٩٠, Ⅳ 東京 🇫🇷👩‍🚀",
)
"""Prompts, and texts on which tokenizers are compared."""

LENGTHS = (8, 64, 256)
"""Lengths of random prompts in tokens; long ones test windows and scaled rotations."""

SAME_WEIGHTS = "Transformers, on the weights as they were read"
"""Default of what a model is compared with."""

_EXACT = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True, eq=False, repr=False)
class ModelCheck(Result):
    """The result of `check_model`: how a model was read.

    `kind` is the kind of source. `sizes`: name -> size of the model. `used`: names of the keys of the header
    or the configuration that were used. `ignored`: name -> why the key changes no number. `comparison` is
    None if nothing was compared.
    """

    WHAT: ClassVar[str] = "check of a model"

    source: str
    kind: str
    sizes: dict[str, Any]
    used: tuple[str, ...]
    ignored: dict[str, str]
    comparison: Comparison | None

    @property
    def agrees(self) -> bool:
        """Whether all comparisons agree within rounding errors."""
        return self.comparison is None or self.comparison.agrees

    def to_json(self) -> dict[str, Any]:
        """The content of the file, with `agrees` and the tolerance of the comparison."""
        compared = None if self.comparison is None else asdict(self.comparison) | {"tolerance": TOLERANCE}
        return asdict(self) | {"comparison": compared, "agrees": self.agrees}

    @property
    def is_file_unchecked(self) -> bool:
        """Whether a GGUF file was compared only with the weights that were read from itself."""
        compared = self.comparison
        return self.kind.startswith("GGUF") and compared is not None and compared.other == SAME_WEIGHTS

    @classmethod
    def from_json(cls, document: object) -> ModelCheck:
        """Build a check from the output of `to_json`; raises KCircuitsError if it is something else."""
        given = check_keys(cls.WHAT, document, _DOCUMENT)
        compared = given["comparison"]
        return cls(
            given["source"],
            given["kind"],
            given["sizes"],
            tuple(given["used"]),
            given["ignored"],
            None if compared is None else Comparison.from_json("comparison", compared),
        )

    def describe(self) -> str:
        """Two lines: the source, then whether the logits agree."""
        ignored = f"{len(self.used):,} keys used, {len(self.ignored):,} ignored"
        verdict = "nothing was compared"
        if self.comparison is not None:
            agrees = "agree" if self.agrees else "DIFFER"
            verdict = (
                f"log-probabilities {agrees}: by {self.comparison.largest:.2g} at most from "
                f"{printable(self.comparison.other, 60)}"
            )
        return f"Check of {printable(self.source, 60)} ({printable(self.kind, 40)}): {ignored}\n{verdict}"

    def table(self) -> DataFrame:
        """A data frame with a row for every prompt whose logits were compared."""
        need("pandas", "tables")
        from pandas import DataFrame

        differences = () if self.comparison is None else self.comparison.differences
        return DataFrame([asdict(each) for each in differences], columns=[f.name for f in fields(Difference)])

    def panels(self) -> Panels:
        """ "differences": the largest difference of two log-probabilities in every prompt."""
        from kcircuits.checking.check_plot import PANELS

        return PANELS


_DOCUMENT: Keys = {
    **dict.fromkeys(("source", "kind"), (is_text, "a string")),
    **dict.fromkeys(("sizes", "ignored"), (is_object, "an object")),
    "used": (list_of(is_text, 100_000), "a list of names"),
    "comparison": (or_none(is_object), "an object or null"),
}


def check_model(
    source: str | Path, *, against: str | Path | None = None, memory: int | str | None = None
) -> ModelCheck:
    """Report which parts of a model's files are used and ignored, and compare its logits.

    Without `against`, the logits are compared with those of Transformers on the same weights. For a GGUF
    file, these are the weights that this package read, so the comparison checks the family and not the file;
    to check the file, give the folder from which it was made as `against`. Both models are in memory at the
    same time, in float32.

    Parameters
    ----------
    source
        As for `load_model`.
    against
        Another source of the same model: a Hugging Face folder, which Transformers runs, or a GGUF file.
    memory
        Bytes for the activations of one prompt (`kcircuits.runtime.memory.memory_bytes`).

    Returns
    -------
    ModelCheck

    Raises
    ------
    KCircuitsError
        If a source cannot be loaded, or the sizes of the two models differ.

    Examples
    --------
    >>> import kcircuits
    >>> check = kcircuits.check_model("demo")
    >>> check.agrees, check.ignored["general.license"]
    (True, 'metadata about the file')
    """
    path, from_gguf = source_path(source)
    model = load_model(source)
    gguf = account_of(path) if from_gguf else None
    ours = of_spec(model.spec, memory)
    if against is None:
        theirs, tokenizer = of_transformers(_folder_of(model))
        other, same, second = SAME_WEIGHTS, True, model
        # For a GGUF file, both models have the tokenizer that this package made.
        other_ids = () if from_gguf else compare_ids(model, tokenizer, TEXTS)
    else:
        other_path, other_is_gguf = source_path(against)
        second = load_model(against)
        _check_sizes(model, second)
        if other_is_gguf:
            theirs, tokenizer = of_spec(second.spec, memory), second.tokenizer
        else:
            theirs, tokenizer = of_transformers(_folder_of(second))
        kinds = [*(gguf.kinds if gguf else ()), *(account_of(other_path).kinds if other_is_gguf else ())]
        other, same = str(against), all(kind in _EXACT for kind in kinds)
        other_ids = compare_ids(model, tokenizer, TEXTS)
    comparison = Comparison(other, same, compare_logits(ours, theirs, _prompts(model, second)), other_ids)
    return ModelCheck(
        source=str(source),
        kind=_kind(gguf),
        sizes={key: value for key, value in model.identity.items() if key not in ("name", "weights_hash")},
        used=_used_parts(model, gguf),
        ignored=_ignored_parts(model, gguf),
        comparison=comparison,
    )


def _folder_of(model: Model) -> Path:
    """The Hugging Face folder from which `load_model` read a model."""
    assert model.folder is not None
    return model.folder


def _prompts(model: Model, other: Model) -> list[tuple[str | None, tuple[int, ...]]]:
    """Texts, if there is a tokenizer, and random ids of several lengths; the same in every run.

    Their tokens and lengths are valid for both models.
    """
    longest = min(model.spec.max_positions, other.spec.max_positions)
    vocab_size = min(model.spec.vocab_size, other.spec.vocab_size)
    prompts: list[tuple[str | None, tuple[int, ...]]] = []
    for text in TEXTS if model.tokenizer is not None else ():
        ids = tuple(model.tokenizer(text)["input_ids"])[:longest]  # type: ignore[misc]
        if ids and max(ids) < vocab_size:
            prompts.append((text, ids))
    generator = torch.Generator().manual_seed(0)
    for length in sorted({min(length, longest) for length in LENGTHS}):
        drawn = torch.randint(vocab_size, (length,), generator=generator)
        prompts.append((None, tuple(drawn.tolist())))
    return prompts


def _check_sizes(model: Model, other: Model) -> None:
    names = {
        "num_layers": "number of layers",
        "num_heads": "number of heads",
        "num_kv_heads": "number of key/value heads",
        "width": "width",
    }
    for key, what in names.items():
        if model.identity[key] != other.identity[key]:
            raise KCircuitsError(
                f"the models differ: the {what} is {model.identity[key]} in {model.identity['name']} and "
                f"{other.identity[key]} in {other.identity['name']}"
            )


def _kind(gguf: GgufAccount | None) -> str:
    if gguf is None:
        return "Hugging Face folder"
    files = f"{gguf.num_files} files" if gguf.num_files > 1 else "1 file"
    return f"GGUF, {files}, architecture {gguf.architecture}, tensors of {', '.join(gguf.kinds)}"


def _used_parts(model: Model, gguf: GgufAccount | None) -> tuple[str, ...]:
    if gguf is not None:
        return gguf.keys
    assert model.account is not None
    return tuple(sorted({*model.account.used, *model.account.evident}))


def _ignored_parts(model: Model, gguf: GgufAccount | None) -> dict[str, str]:
    assert model.account is not None
    # What the converter itself writes into the configuration of a GGUF file is not the file's.
    return dict(gguf.ignored) if gguf is not None else dict(model.account.harmless)
