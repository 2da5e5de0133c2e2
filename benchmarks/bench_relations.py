"""Cost of a sweep over all public relations: measured on SmolLM2-135M, and extrapolated to larger models.

The sweep runs on SmolLM2, with a circuit of each relation by EAP-IG and one by ACDC. GPT-2 medium and
LLaMA-2-7B have random weights here. The time of EAP-IG does not depend on the weights, so it is measured on
some of the same prompts and scaled with the tokens. The number of ACDC's tests depends on the weights; its
time is that of SmolLM2 times the ratio of senders (tests per receiver) times the ratio of parameters (cost
per test). All times are for one thread. The relations are those of the LRE data set (Hernandez et al., 2023,
https://arxiv.org/abs/2308.09124), in folders of JSON files.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from machine import write_results
from shapes import LLAMA_2_7B, random_spec
from transformers import GPT2Config, GPT2LMHeadModel

import kcircuits
from kcircuits.data.prompts import Prompt
from kcircuits.discovery import method_and_selection
from kcircuits.model.spec import ModelSpec
from kcircuits.scores.selection import select
from kcircuits.sweeps import Update
from kcircuits.sweeps.expand import expand
from kcircuits.sweeps.job import Job
from kcircuits.sweeps.run import read_sweep
from kcircuits.sweeps.store import Store
from kcircuits.task import Task

IG = {"method": "eap-ig-inputs", "top_n": 300, "ig_steps": 5}
ACDC = {"method": "acdc", "threshold": 0.1}
PROMPTS = 8
MEMORY = 2 * 2**30


def document_of(relations: Path) -> dict[str, Any]:
    """A sweep of two jobs for each relation, of its first facts, known or not."""
    facts = {"template": 0, "first_token": True, "top_k": 0, "limit": PROMPTS}
    return {
        "models": ["demo"],
        "prompts": [{"relation": str(relations / "*/*.json"), **facts}],
        "methods": [IG, ACDC],
        "ablations": ["corrupt"],
        "metrics": ["nll"],
    }


def tokens_of(prompts: Sequence[Prompt]) -> int:
    return sum(len(prompt.clean_ids) for prompt in prompts)


def parameters_of(spec: ModelSpec) -> int:
    """Parameters of the products for each token: a tied unembedding counts, an embedding does not."""
    layers = [
        matrix.numel()
        for layer in spec.layers
        for block in (layer.attention, layer.mlp)
        for matrix in vars(block).values()
        if isinstance(matrix, torch.Tensor) and matrix.ndim == 2
    ]
    return sum(layers) + spec.unembedding.numel()


def print_update(update: Update) -> None:
    if update.status != "running":
        print(f"{update.done} of {update.total} {update.status}: {update.title} ({update.seconds:.1f} s)")


def measure_sweep(document: dict[str, Any], out: Path) -> tuple[list[Job], dict[str, Any]]:
    """Run the sweep, and return its jobs and the time by method."""
    result = kcircuits.sweep(document, out, workers=1, threads=1, progress=print_update)
    text, grid = read_sweep(document)
    jobs = list(expand(grid, text, Store(out).parts, keep=False).jobs.values())
    refused = {row["relation"] for row in result.rows if row["status"] == "failed"}
    found: dict[str, Any] = {"refused": sorted(refused)}
    for method in (IG["method"], ACDC["method"]):
        folders = [out / "jobs" / job.key for job in jobs if job.search.method.name == method]
        folders = [folder for folder in folders if folder.exists()]
        timings = [json.loads((folder / "timing.json").read_text()) for folder in folders]
        stats = [json.loads((folder / "circuit.json").read_text())["stats"] for folder in folders]
        found[method] = {
            "jobs": len(folders),
            "seconds": round(sum(timing["seconds"] for timing in timings), 1),
            "tests": sum(stat.get("tests", 0) for stat in stats),
        }
    return jobs, found


def measure_scores(
    spec: ModelSpec, all_prompts: Sequence[tuple[Prompt, ...]], chosen: Iterable[int]
) -> dict[str, Any]:
    """Seconds of EAP-IG on the prompts of some relations, and scaled to all prompts by tokens."""
    measured = [fit_vocabulary(all_prompts[number], spec.vocab_size) for number in chosen]
    options = {name: value for name, value in IG.items() if name != "method"}
    method, selection = method_and_selection(IG["method"], options)
    start = perf_counter()
    for prompts in measured:
        scores = method.scores(spec, Task(prompts, "corrupt", "nll"), MEMORY, None)
        select(spec.graph, scores, selection)
    seconds = perf_counter() - start
    tokens, total = (sum(map(tokens_of, some)) for some in (measured, all_prompts))
    return {
        "measured_relations": len(measured),
        "measured_seconds": round(seconds, 1),
        "seconds": round(seconds * total / tokens, 1),
    }


def fit_vocabulary(prompts: tuple[Prompt, ...], vocabulary: int) -> tuple[Prompt, ...]:
    """The prompts with ids that fit a model with another vocabulary. Random weights allow any ids."""

    def fit(ids: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return ids and tuple(number % vocabulary for number in ids)

    return tuple(
        replace(
            prompt,
            clean_ids=fit(prompt.clean_ids),
            corrupt_ids=fit(prompt.corrupt_ids),
            answer_id=number % (vocabulary - 1),
            wrong_id=number % (vocabulary - 1) + 1,
        )
        for number, prompt in enumerate(prompts)
    )


def gpt2_medium(place: Path) -> ModelSpec:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=24, n_head=16, n_embd=1024)
    GPT2LMHeadModel(config).save_pretrained(place)
    return kcircuits.load_model(place).spec


def llama_7b() -> ModelSpec:
    return random_spec(LLAMA_2_7B, dtype=torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relations", type=Path, default=Path("../shared/data/lre"))
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/relations"),
        help="Output folder of the sweep. [default: %(default)s]",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    jobs, small = measure_sweep(document_of(given.relations), given.out)
    all_prompts = [job.search.task.prompts for job in jobs if job.search.method.name == IG["method"]]
    by_length = sorted(range(len(all_prompts)), key=lambda number: tokens_of(all_prompts[number]))
    spec = kcircuits.load_model("demo").spec
    base = parameters_of(spec), len(spec.graph.senders)
    rows = [
        {"model": "SmolLM2-135M", "parameters": base[0], "senders": base[1], "relations": len(all_prompts)}
        | small
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, make, share in (
            ("GPT-2 medium", lambda: gpt2_medium(Path(folder)), (0.2, 0.5, 0.8)),
            ("LLaMA-2-7B, bfloat16", llama_7b, (0.5,)),
        ):
            larger = make()
            chosen = [by_length[int(part * len(by_length))] for part in share]
            scores = measure_scores(larger, all_prompts, chosen)
            sizes = parameters_of(larger), len(larger.graph.senders)
            seconds = small["acdc"]["seconds"] * sizes[0] / base[0] * sizes[1] / base[1]
            row = {"model": name, "parameters": sizes[0], "senders": sizes[1], "relations": len(all_prompts)}
            rows.append(row | {IG["method"]: scores, "acdc": {"seconds": round(seconds)}})
            print(rows[-1])
            del larger
            gc.collect()
    tokens = sum(map(tokens_of, all_prompts))
    print(f"written: {write_results('relations', {'prompts': PROMPTS, 'tokens': tokens, 'rows': rows})}")


if __name__ == "__main__":
    main()
