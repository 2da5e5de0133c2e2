"""`kcircuits check`: how a model is read, and whether its logits are right."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import typer

from kcircuits.cli.options import JsonOutput, Memory, ModelSource
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.checking import ModelCheck

DIFFERS = 1
"""Exit code where logits or token ids differ."""


@dataclass(frozen=True)
class Sources(Options):
    """What is checked, and against what."""

    title: ClassVar[str] = "Model"

    model: str = option(like=(ModelSource, "model"), positional=True)
    against: str | None = option(
        None,
        help="Another source of the same model, such as the folder that a GGUF file was made from.",
        metavar="DIR|FILE.gguf",
        default_text="Transformers on the same weights",
    )


def command(sources: Sources, run: Memory, output: JsonOutput) -> None:
    """Report which parts of a model's files are used and which are ignored, and compare its logits.

    Exits with 1 if logits or token ids differ by more than rounding explains.
    """
    from kcircuits.checking import check_model

    found = check_model(sources.model, against=sources.against, memory=run.memory)
    if output.as_json:
        json.dump(found.to_json(), sys.stdout, indent=2, allow_nan=False)
        print()
    else:
        _print(found)
    if not found.agrees:
        raise typer.Exit(DIFFERS)


def _print(found: ModelCheck) -> None:
    from kcircuits.cli.console import print_rows

    sizes = found.sizes
    print(f"source    {found.kind}")
    print(
        f"model     {sizes['family']}: {sizes['num_layers']} layers, {sizes['num_heads']} heads, "
        f"{sizes['num_kv_heads']} key/value heads, width {sizes['width']:,}, {sizes['vocab_size']:,} tokens"
    )
    at_default = "" if found.kind.startswith("GGUF") else " (keys at their defaults are not listed)"
    print(f"used      {len(found.used)} keys: {', '.join(found.used)}{at_default}")
    if found.ignored:
        for reason in dict.fromkeys(found.ignored.values()):
            keys = (key for key, why in sorted(found.ignored.items()) if why == reason)
            print(f"ignored   {', '.join(keys)}: {reason}")
    else:
        print("ignored   nothing")
    compared = found.comparison
    if compared is None:
        return
    print_rows(
        f"next token beside {compared.other}",
        ("prompt", "tokens", "largest difference", "KL, nats", "same best token"),
        [
            (
                "random ids" if one.text is None else repr(one.text)[:34],
                f"{one.num_tokens:,}",
                f"{one.largest:.1e}",
                f"{one.divergence:.1e}",
                "yes" if one.same_best else "no",
            )
            for one in compared.differences
        ],
    )
    for text, ours, theirs in compared.other_ids:
        print(f"other token ids for {text!r}: {list(ours)}, there {list(theirs)}")
    print(_verdict(found))
    if found.is_file_unchecked:
        print(
            "The reading of the file itself was not checked: give the folder it was made of with --against."
        )


def _verdict(found: ModelCheck) -> str:
    from kcircuits.checking.comparison import TOLERANCE

    compared = found.comparison
    assert compared is not None
    if compared.other_ids:
        return "The tokenizers differ: circuits found on these texts belong to other prompts."
    if not compared.same_weights:
        return (
            f"Weights were rounded to few bits: log-probabilities differ by up to {compared.largest:.2g}. "
            "A file of 16 bits or more shows whether the reading is right."
        )
    if compared.agrees:
        return f"Log-probabilities agree within {TOLERANCE:g}."
    return f"Log-probabilities differ by {compared.largest:.2g}: results on this model cannot be trusted."
