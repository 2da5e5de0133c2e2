"""The cases of bench_peers.py: tasks, and the tools for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_acdc import CASES as SEARCHES
from bench_acdc import prompts_of
from demo_task import language_task
from peers.exchange import as_columns
from peers.protocol import Worker

import kcircuits
from kcircuits.data.prompts import Prompt
from kcircuits.graph import Graph
from kcircuits.model.huggingface import silence_transformers
from tests.models import build, gpt2, save
from tests.tasks import random_prompt

LENS, AUTO, OURS, PLAIN = "TransformerLens hooks", "auto-circuit", "kcircuits", "plain Hugging Face"
MODULES = {LENS: "lens_worker", AUTO: "auto_circuit_worker", OURS: "ours_worker", PLAIN: "plain_worker"}
IG_STEPS = 5
SAMPLE = 100  # tests to run if all tests would take hours
SEARCH_ROUNDS = 3  # of searches that take many seconds
SMALL_SIZES = {"n_layer": 4, "n_head": 4, "n_embd": 64}
SMALL = "small random GPT-2"  # of SMALL_SIZES
SMOLLM2 = "SmolLM2-135M"

Pairs = list[tuple[int, int]]
Run = Callable[[Worker, int, int], dict[str, Any]]


@dataclass(frozen=True)
class Entrant:
    """One tool at one task.

    Parameters
    ----------
    run
        Runs one round: worker, number of the round, rounds -> "seconds" of the whole; or "each", the seconds
        of single tests, and "all_tests", their total number (None: the same as kcircuits').
    """

    tool: str
    method: str
    run: Run
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A task for several tools; the first entrant is kcircuits."""

    name: str
    model: str
    folder: Path
    prompts: tuple[Prompt, ...]
    ablation: str
    metric: str
    entrants: tuple[Entrant, ...]
    check: Callable[[dict[str, Worker]], dict[str, Any]] | None = None
    rounds: int = 5

    @property
    def title(self) -> str:
        """Name of the case."""
        return f"{self.model}: {self.name}"

    def start(self, entrant: Entrant, pythons: dict[str, Path], threads: int) -> Worker:
        """The entrant's process, with the model loaded."""
        more: dict[str, Any] = {
            OURS: {"ablation": self.ablation, "metric": self.metric},
            LENS: {"ablation": self.ablation},
        }.get(entrant.tool, {})
        python = pythons["peers" if entrant.tool in (LENS, AUTO) else "main"]
        columns = as_columns(self.prompts)
        return Worker(
            python, MODULES[entrant.tool], threads, folder=str(self.folder), prompts=columns, **more
        )


def simple(what: str, **arguments: Any) -> Run:
    """A call for the whole task."""
    return lambda worker, _round, _rounds: worker.call(what, **arguments)


def each_forward(worker: Worker, _round: int, rounds: int) -> dict[str, Any]:
    """Plain forward passes instead of tests."""
    seconds = [worker.call("forward")["seconds"] for _ in range(SAMPLE // rounds)]
    return {"each": seconds, "all_tests": None}


def sampled_hooks(edges: Pairs, worker: Worker, number: int, rounds: int) -> dict[str, Any]:
    """A round's share of the sampled tests."""
    return {"each": worker.call("tests", edges=edges[number::rounds])["seconds"], "all_tests": None}


def sampled_auto_circuit(threshold: float, worker: Worker, _round: int, rounds: int) -> dict[str, Any]:
    """A round's share of the sampled tests, without the time before the first test."""
    count = SAMPLE // rounds
    before = worker.call("acdc", threshold=threshold, sample=0)["seconds"]
    sampled = worker.call("acdc", threshold=threshold, sample=count)
    one = max(0.0, sampled["seconds"] - before) / count
    return {"each": [one] * count, "all_tests": worker.about["edges"]}


def spread_edges(graph: Graph) -> Pairs:
    """(sender, receiver) of SAMPLE edges, spread over the receivers and their senders."""
    edges = np.argwhere(graph.valid.T)[:, ::-1]
    places = np.linspace(0, len(edges) - 1, SAMPLE).astype(int)
    return [(int(sender), int(receiver)) for sender, receiver in edges[places]]


def same_edges(threshold: float, workers: dict[str, Worker]) -> dict[str, Any]:
    """Check that the circuits and numbers of tests are equal."""
    ours, theirs = (workers[tool].call("acdc", threshold=threshold) for tool in (OURS, LENS))
    if ours["edges"] != theirs["edges"] or ours["tests"] != theirs["tests"]:
        differ = sorted(set(ours["edges"]) ^ set(theirs["edges"]))
        raise SystemExit(
            f"the circuits differ in {len(differ)} edges ({', '.join(differ[:5])}), tests {ours['tests']} "
            f"and {theirs['tests']}; the closest decision was {theirs['margin']:.1e} from the threshold"
        )
    return {"same_edges": len(ours["edges"]), "tests": ours["tests"], "margin": theirs["margin"]}


def same_values(edges: Pairs, workers: dict[str, Worker]) -> dict[str, Any]:
    """Check that the metrics of the full graph and of all sampled tests are equal within rounding."""
    full, *ours = workers[OURS].call("measure", edges=edges)
    theirs = workers[LENS].call("tests", edges=edges)["values"]
    pairs = zip([full, *ours], [workers[LENS].about["full"], *theirs], strict=True)
    worst = max(abs(a - b) for a, b in pairs)
    if worst > 1e-3:
        raise SystemExit(f"the metric of the same masked runs differs by {worst:.2e}")
    return {"largest_metric_difference": worst}


def same_scores(workers: dict[str, Worker]) -> dict[str, Any]:
    """Check that the EAP scores of all edges are equal within rounding."""
    ours, theirs = (np.array(workers[tool].call("eap_scores")) for tool in (OURS, AUTO))
    worst = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if worst > 1e-3:
        raise SystemExit(f"EAP's scores differ by {worst:.2e} of the largest one")
    return {"largest_score_difference": worst}


def search_entrants(threshold: float, *others: Entrant) -> tuple[Entrant, ...]:
    """Entrants of a search: kcircuits, then the others."""
    return (Entrant(OURS, "exact ACDC", simple("acdc", threshold=threshold)), *others)


def gradient_entrants() -> tuple[Entrant, ...]:
    """Scores of all edges."""
    ig = {"ig_steps": IG_STEPS}
    return (
        Entrant(OURS, "EAP", simple("scores", method="eap", options={})),
        Entrant(OURS, "EAP-IG, 5 steps", simple("scores", method="eap-ig-inputs", options=ig)),
        Entrant(AUTO, "EAP", simple("eap")),
        Entrant(AUTO, "mask gradients, 5 steps", simple("integrated", steps=IG_STEPS), "6 passes"),
        Entrant(PLAIN, "forward + backward", simple("backward")),
    )


def small_cases(folder: Path) -> list[Case]:
    """Complete searches of a small random model."""
    with silence_transformers():
        save(build(partial(gpt2, **SMALL_SIZES)), folder)
    prompts = tuple(random_prompt(6, seed) for seed in range(8))

    def case(name: str, ablation: str, metric: str, entrants: tuple[Entrant, ...], check: Any = None) -> Case:
        return Case(name, SMALL, folder, prompts, ablation, metric, entrants, check)

    hooks = "all tests, one hooked forward each"
    return [
        *(
            case(
                f"ACDC, {ablation} ablation, nll, τ = {threshold}",
                ablation,
                "nll",
                search_entrants(
                    threshold,
                    Entrant(LENS, "sequential ACDC", simple("acdc", threshold=threshold), hooks),
                ),
                partial(same_edges, threshold),
            )
            for ablation, threshold in (("zero", 0.03), ("corrupt", 0.03))
        ),
        case(
            "ACDC, corrupt ablation, kl, τ = 0.03",
            "corrupt",
            "kl",
            search_entrants(
                0.03,
                Entrant(AUTO, "its ACDC", simple("acdc", threshold=0.03), "another order of tests"),
            ),
        ),
        case(
            "scores of all edges, logit-diff",
            "corrupt",
            "logit-diff",
            gradient_entrants(),
            same_scores,
        ),
    ]


def large_cases(folder: Path) -> list[Case]:
    """The model and the tasks of bench_acdc.py and bench_eap.py."""
    model = kcircuits.load_model(folder)
    edges = spread_edges(model.spec.graph)
    cases = []
    for search in SEARCHES:
        entrants = search_entrants(
            search.threshold,
            Entrant(LENS, "sequential ACDC", partial(sampled_hooks, edges)),
            Entrant(PLAIN, "one forward per test", each_forward),
        )
        prompts = prompts_of(search, model)
        cases.append(
            Case(
                f"ACDC, {search.ablation} ablation, nll, τ = {search.threshold}",
                SMOLLM2,
                folder,
                prompts,
                search.ablation,
                "nll",
                entrants,
                partial(same_values, edges[::5]),
                SEARCH_ROUNDS,
            )
        )
    pairs = language_task(model).prompts
    theirs = Entrant(AUTO, "its ACDC", partial(sampled_auto_circuit, 0.05))
    cases.append(
        Case(
            "ACDC, corrupt ablation, kl, τ = 0.05", SMOLLM2, folder, pairs, "corrupt", "kl",
            search_entrants(0.05, theirs), rounds=SEARCH_ROUNDS,
        )
    )  # fmt: skip
    cases.append(
        Case(
            "scores of all edges, logit-diff", SMOLLM2, folder, pairs, "corrupt", "logit-diff",
            gradient_entrants(), same_scores,
        )
    )  # fmt: skip
    return cases
