"""Options that several commands have, once; and how those about prompts become prompts.

Nothing here may import torch before a command runs: `--help` must be quick.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from kcircuits.data.halves import Half
from kcircuits.data.metrics import Metric
from kcircuits.runtime.memory import Senders
from kcircuits.task import Ablation

Dtype = Literal["float32", "bfloat16", "float16", "q8", "q4", "stored"]

MODEL = Annotated[
    str,
    typer.Option("--model", metavar="DIR|FILE.gguf|demo", help="Hugging Face folder, GGUF file, or `demo`."),
]
PROMPTS = Annotated[
    str | None, typer.Option("--prompts", metavar="F.jsonl", help="Prompts: JSON lines, a JSON list, or CSV.")
]
RELATION = Annotated[
    str | None,
    typer.Option("--relation", metavar="F.json|NAME", help="Facts of a relation: a file, or a bundled name."),
]
TEMPLATE = Annotated[
    int | None, typer.Option("--template", metavar="I", help="Which template of the relation. [default: 0]")
]
LIMIT = Annotated[
    int | None, typer.Option("--limit", metavar="N", help="Use the relation's first N facts. [default: all]")
]
SHUFFLE_SEED = Annotated[
    int | None, typer.Option("--shuffle-seed", metavar="S", help="Shuffle the relation's facts first.")
]
TOP_K = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="K",
        help="Use only facts that the model knows: the answer is among its K most probable tokens; "
        "0 uses all. [default: 10]",
    ),
]
PROMPT = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="One prompt, as text.")]
ANSWER = Annotated[str | None, typer.Option("--answer", metavar="TEXT", help="The answer to --prompt.")]
CORRUPT = Annotated[
    str | None, typer.Option("--corrupt", metavar="TEXT", help="The prompt that corrupts --prompt.")
]
WRONG = Annotated[str | None, typer.Option("--wrong", metavar="TEXT", help="The wrong answer to --prompt.")]
SUBJECT = Annotated[
    str | None, typer.Option("--subject", metavar="TEXT", help="The subject of --prompt, a part of it.")
]
FIRST_TOKEN = Annotated[
    bool, typer.Option("--first-token", help="Take the first token of answers that have several.")
]
HALF = Annotated[
    Half | None, typer.Option("--half", help="Use one half of the prompts, drawn at random. [default: all]")
]
SPLIT_SEED = Annotated[
    int | None,
    typer.Option(
        "--split-seed",
        min=0,
        metavar="S",
        help="Of the two halves. [default: 0; of a found circuit, its own]",
    ),
]
ABLATION = Annotated[
    Ablation | None,
    typer.Option(
        "--ablation",
        help="Value that a removed edge carries. [default: corrupt if every prompt has a corrupt "
        "one, else zero]",
        show_default=False,
    ),
]
METRIC = Annotated[Metric, typer.Option("--metric", help="Metric to preserve.")]
REFERENCE_PROMPTS = Annotated[
    str | None,
    typer.Option(
        "--reference-prompts",
        metavar="F.jsonl",
        help="Prompts that mean ablation averages over. [default: the prompts themselves]",
    ),
]
DTYPE = Annotated[
    Dtype,
    typer.Option(
        "--dtype",
        help="In which the weights are kept; activations are float32. q8 and q4 round matrices to 8 and 4 "
        "bits, stored keeps a GGUF file's own.",
    ),
]
DEVICE_MAP = Annotated[
    str | None,
    typer.Option(
        "--device-map",
        metavar="auto|F.json",
        help="Spread the layers over all GPUs, or as a file says; for the gradient methods and evaluation. "
        "[default: all on the CPU]",
        show_default=False,
    ),
]
MEMORY = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory that the command may take beside the weights, such as 8GiB; too little for one prompt "
        "is refused. [default: a quarter of what is free, at most 4GiB, or what one prompt needs]",
    ),
]
SENDERS = Annotated[
    Senders | None,
    typer.Option(
        "--senders",
        help="How the gradient methods keep all senders' outputs. bfloat16 changes scores a little; auto "
        "takes the first of memory, host (on a GPU) and recomputed in which all prompts fit. [default: auto]",
        show_default=False,
    ),
]
THREADS = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="Threads to use. [default: all cores]")
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and no progress.")]
QUIET = Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")]


def with_partners(ablation: Ablation | None, metric: Metric) -> bool:
    """Whether facts of a relation need a corrupt partner: unless an ablation that has none is asked for."""
    return ablation in (None, "corrupt") or metric == "logit-diff"
