"""`--memory` holds for whole commands, or they refuse it before the work and name what is enough."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kcircuits.runtime.memory import memory_bytes
from tests.models import build, llama, save
from tests.tasks import random_prompts_of

ROOT = Path(__file__).parents[2]
MIB = 2**20
# Of the tokenizer, the report and what the C library keeps of freed blocks; weights are pages of a file.
ALLOWANCE = 64  # MiB
SCRIPT = """
import os
from pathlib import Path
import torch, transformers.models.llama.modeling_llama
import kcircuits.cli.app
from kcircuits.cli import main
from tests.peak_memory import PeakMemory

peak = PeakMemory()
try:
    main()
finally:
    Path(os.environ["PEAK"]).write_text(str(peak.growth))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model whose activations are far larger than it is, and prompts for it."""
    folder = tmp_path_factory.mktemp("memory")
    sizes = {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 512}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 512}
    save(build(lambda: llama(**sizes, **heads)), folder / "model")
    for name, lengths in {"many": [32, 24] * 4, "few": [10, 8], "long": [400]}.items():
        rows = [vars(prompt) for prompt in random_prompts_of(lengths)]
        keep = ("clean_ids", "corrupt_ids", "answer_id", "wrong_id")
        lines = [json.dumps({key: row[key] for key in keep if row[key] is not None}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(folder: Path, command: str, prompts: str, memory: str, *options: object) -> tuple[int, str, int]:
    """Exit status, output, and the peak of the memory above the libraries, in MiB; pages of files apart."""
    given = ("--model", folder / "model", "--prompts", folder / f"{prompts}.jsonl", "--memory", memory)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, command, *map(str, (*given, *options))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PEAK": str(folder / "peak")},
    )
    return done.returncode, done.stdout + done.stderr, int((folder / "peak").read_text()) // MIB


def test_search_measurement_and_evaluation_keep_within_it(folder):
    """Of all prompts together each would take twice as much."""
    how, limit = ("--ablation", "corrupt"), 160 + ALLOWANCE
    status, output, peak = run(
        folder,
        "discover",
        "many",
        "160MiB",
        "--method",
        "eap",
        *how,
        "--top-n",
        999,
        "--out",
        folder / "found",
    )
    assert status == 0, output
    assert peak < limit
    circuit = ("--circuit", folder / "found" / "circuit.json", "--random", 2)
    status, output, peak = run(folder, "evaluate", "many", "160MiB", *circuit)
    assert status == 0, output
    assert peak < limit


def test_acdc_keeps_within_it(folder):
    how = ("--method", "acdc", "--ablation", "corrupt", "--threshold", "0.05", "--out", folder / "acdc")
    status, output, peak = run(folder, "discover", "few", "128MiB", *how)
    assert status == 0, output
    assert peak < 128 + ALLOWANCE


@pytest.mark.parametrize(
    ("method", "at_least"),
    [(("eap", "--top-n", "999"), "measuring circuits"), (("acdc", "--threshold", "9"), "acdc")],
)
def test_too_little_is_refused_and_what_is_named_is_enough(folder, method, at_least):
    how = ("--method", *method, "--out", folder / f"long-{method[0]}")
    status, output, peak = run(folder, "discover", "long", "200MiB", *how)
    assert status == 2, output
    assert peak < ALLOWANCE
    assert not (how[-1] / "circuit.json").exists()
    named = re.search(
        rf"{at_least} needs at least (.*?) for .*\(400 tokens\), and --memory is 200.0 MiB", output
    )
    assert named, output
    assert named[1] in planned(folder, *how[:2])
    if at_least == "acdc":  # which takes long
        return
    status, output, peak = run(folder, "discover", "long", named[1], *how)
    assert status == 0, output
    assert 0.5 * memory_bytes(named[1]) / MIB < peak < memory_bytes(named[1]) / MIB + ALLOWANCE


def planned(folder: Path, *how: str) -> str:
    status, output, _ = run(folder, "plan", "long", "200MiB", "--no-time", *how)
    assert status == 0, output
    assert "discover refuses --memory 200.0 MiB" in output
    return output
