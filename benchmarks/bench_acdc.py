"""Exact ACDC against one plain Hugging Face forward per test, on SmolLM2-135M, in one run.

The ratio is `tests * time of one plain forward / time of the search`: how many times faster the search is
than the sequential algorithm would be if each of its tests cost no more than a forward pass without hooks.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from machine import write_results
from plain import Plain

import kcircuits
from kcircuits.data.prompts import Prompt
from kcircuits.data.relations import known_prompts
from kcircuits.evaluation.known import answer_ranks
from kcircuits.model.gguf.conversion import convert, demo_file

FORWARDS = 5


@dataclass(frozen=True)
class Case:
    """One search."""

    name: str
    num_prompts: int
    ablation: str
    threshold: float


CASES = (
    Case("1 prompt, zero", 1, "zero", 0.01),
    Case("8 prompts, corrupt", 8, "corrupt", 0.02),
)


def prompts_of(case: Case, model: kcircuits.Model) -> tuple[Prompt, ...]:
    """The France prompt, or facts of country-language of one length that the model knows."""
    spec = model.spec
    sizes = {"vocab_size": spec.vocab_size, "max_positions": spec.max_positions}
    if case.num_prompts == 1:
        return (
            kcircuits.tokenise(model.tokenizer, "The official language of France is", " French", **sizes),
        )
    relation = kcircuits.load_relation("country-language")
    made = kcircuits.relation_prompts(relation, model.tokenizer, *sizes.values(), corrupt=True)
    known = known_prompts(made.prompts, answer_ranks(model, made.prompts))
    return tuple(prompt for prompt in known if len(prompt.clean_ids) == 6)[: case.num_prompts]


def forward_times(plain: Plain) -> list[float]:
    """Seconds of plain forward passes, after a warm-up pass."""
    return [plain.forward() for _ in range(FORWARDS + 1)][1:]


def run(case: Case, model: kcircuits.Model) -> dict[str, Any]:
    """One search between two series of plain forward passes."""
    prompts = prompts_of(case, model)
    plain = Plain(convert(demo_file()), prompts)
    times = forward_times(plain)
    circuit = kcircuits.discover(
        model, kcircuits.Task(prompts, case.ablation), kcircuits.Acdc(threshold=case.threshold)
    )
    times += forward_times(plain)
    forward = statistics.median(times)
    stats = circuit.stats
    return {
        "case": case.name,
        "prompts": len(prompts),
        "ablation": case.ablation,
        "threshold": case.threshold,
        "edges": len(circuit.edges),
        "tests": stats["tests"],
        "evaluations": stats["evaluations"],
        "batches": stats["chunks"],
        "search_seconds": stats["seconds"],
        "plain_forward_seconds": round(forward, 4),
        "one_forward_per_test_seconds": round(stats["tests"] * forward, 1),
        "ratio": round(stats["tests"] * forward / stats["seconds"], 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    model = kcircuits.load_model("demo")
    rows = [run(case, model) for case in CASES]
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    print(f"written: {write_results('acdc', {'model': 'SmolLM2-135M', 'rows': rows})}")


if __name__ == "__main__":
    main()
