"""A sweep of 200 small jobs whose workers are killed 30 times, and which is itself killed twice.

It must end with the same bytes as an undisturbed sweep, and no finished job may run again. Also measures the
overhead of a job with empty jobs, as a share of a job on SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import torch
from machine import write_results
from transformers import LlamaConfig, LlamaForCausalLM

import kcircuits
from kcircuits.discovery import select_circuit
from kcircuits.scores.selection import Selection
from kcircuits.sweeps import Update

VOCABULARY, LENGTH = 61, 6
THREADS = 1


def write_model(folder: Path, seed: int) -> str:
    """A small LLaMA with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        hidden_size=32,
        intermediate_size=48,
        max_position_embeddings=64,
        vocab_size=VOCABULARY,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder.name


def write_prompts(path: Path, seed: int) -> str:
    """Three pairs of random prompts."""
    draw = random.Random(seed)
    rows = []
    for _ in range(3):
        clean, corrupt = (draw.choices(range(VOCABULARY), k=LENGTH) for _ in range(2))
        answer, wrong = draw.sample(range(VOCABULARY), 2)
        rows.append({"clean_ids": clean, "corrupt_ids": corrupt, "answer_id": answer, "wrong_id": wrong})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def write_sweep(place: Path, jobs: int) -> Path:
    """Two models, five files of prompts, two methods, and as many seeds as needed for the number of jobs."""
    document = {
        "models": [write_model(place / f"model{n}", n) for n in range(2)],
        "prompts": [{"prompts": [write_prompts(place / f"prompts{n}.jsonl", n) for n in range(5)]}],
        "methods": [{"method": "acdc", "threshold": 0.05}, {"method": "eap", "top_n": 60}],
        "ablations": ["corrupt"],
        "seeds": list(range(jobs // 20)),
        "analyses": {"evaluate": {"random": 20}, "curves": {}},
    }
    path = place / "sweep.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML, too
    return path


@dataclass
class DisturbedSweep:
    """A sweep on the command line, with counts of killed workers and sweeps."""

    sweep: Path
    out: Path
    workers: int
    draw: random.Random
    kills: set[int]
    sweep_kills: set[int]
    done: int = 0
    owed: int = 0
    killed: int = 0
    retried: int = 0
    runs: int = 0
    finished: dict[str, int] = field(default_factory=dict)

    def run_to_the_end(self) -> None:
        """Restart the sweep until it finishes."""
        while True:
            self.runs += 1
            status = self._run()
            self._check_finished()
            if status == 0:
                return
            if status != -signal.SIGKILL:
                raise SystemExit(f"the sweep ended with status {status}")

    def _run(self) -> int:
        command = ["sweep", self.sweep, "--out", self.out, "--workers", self.workers, "--threads", THREADS]
        process = subprocess.Popen(
            [sys.executable, "-m", "kcircuits", *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            self.retried += " retried: " in line
            if " done: " not in line:
                continue
            self.done += 1
            if self.done in self.kills:
                self.owed += 1
            if self.owed:
                sleep(self.draw.uniform(0, 0.2))
                self._kill_a_worker(process.pid)
            if self.done in self.sweep_kills:
                process.kill()
        return process.wait()

    def _kill_a_worker(self, sweep: int) -> None:
        workers = workers_of(sweep)
        if workers:
            with suppress(ProcessLookupError):
                os.kill(self.draw.choice(workers), signal.SIGKILL)
                self.killed += 1
                self.owed -= 1

    def _check_finished(self) -> None:
        """Check that results finished before are still the same files."""
        now = {path.parent.name: path.stat().st_mtime_ns for path in self.out.glob("jobs/*/done.json")}
        again = [key for key, time in self.finished.items() if now.get(key) != time]
        if again:
            raise SystemExit(f"finished jobs ran again: {again}")
        self.finished = now


def workers_of(parent: int) -> list[int]:
    """The worker processes of a sweep."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            its = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if its == parent and "spawn_main" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return sorted(found)


def soak(place: Path, jobs: int, kills: int, sweep_kills: int, workers: int) -> dict[str, Any]:
    """Run both sweeps, and stop the benchmark if they differ."""
    path = write_sweep(place, jobs)
    start = perf_counter()
    plain = DisturbedSweep(path, place / "plain", workers, random.Random(0), set(), set())
    plain.run_to_the_end()
    seconds = perf_counter() - start
    total = len(plain.finished)
    draw = random.Random(1)
    hit = DisturbedSweep(
        path,
        place / "hit",
        workers,
        draw,
        set(draw.sample(range(1, total - kills), kills)),
        {total * (n + 1) // (sweep_kills + 1) for n in range(sweep_kills)},
    )
    start = perf_counter()
    hit.run_to_the_end()
    disturbed = perf_counter() - start
    if (place / "plain/summary.parquet").read_bytes() != (place / "hit/summary.parquet").read_bytes():
        raise SystemExit("the summaries differ")
    if list((place / "hit" / "failed").glob("*")) or len(hit.finished) != total:
        raise SystemExit(f"{len(hit.finished)} of {total} jobs are done")
    # A killed sweep may have finished jobs that it has not reported.
    if not total - sweep_kills * workers <= hit.done <= total:
        raise SystemExit(f"{hit.done} jobs were said to be done, of {total}")
    return {
        "jobs": total,
        "workers": workers,
        "killed_workers": hit.killed,
        "killed_sweeps": hit.runs - 1,
        "retried": hit.retried,
        "seconds": round(seconds, 1),
        "disturbed_seconds": round(disturbed, 1),
        "jobs_per_minute": round(60 * total / seconds, 1),
        "summary_identical": True,
    }


class Clock:
    """Seconds from the start of the first job to the end of the last."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def __call__(self, update: Update) -> None:
        self.last = perf_counter()
        self.first = self.first or self.last

    @property
    def seconds(self) -> float:
        return self.last - self.first


def overhead(place: Path, jobs: int) -> dict[str, Any]:
    """Overhead of the sweep per job in seconds, from jobs that select a small circuit from scores."""
    sizes = list(range(20, 20 + jobs))
    document = {
        "models": [str(place / "model0")],
        "prompts": [{"prompts": str(place / "prompts0.jsonl")}],
        "methods": [{"method": "eap", "top_n": sizes, "greedy": True}],
        "ablations": ["corrupt"],
    }
    clock = Clock()
    kcircuits.sweep(document, place / "empty", workers=0, threads=THREADS, progress=clock)
    model = kcircuits.load_model(place / "model0")
    spec = model.spec
    prompts = kcircuits.read_prompts(place / "prompts0.jsonl", None, spec.vocab_size, spec.max_positions)
    start = perf_counter()
    task = kcircuits.Task(prompts, "corrupt")
    scores = kcircuits.attribute(model, task, kcircuits.Eap())
    for size in sizes:
        select_circuit(model, task, scores, Selection(top_n=size, greedy=True))
    alone = perf_counter() - start
    return {"jobs": jobs, "seconds": round((clock.seconds - alone) / jobs, 4)}


def smollm2_job(place: Path) -> float:
    """Seconds of a job on SmolLM2-135M: EAP for one prompt, and its evaluation."""
    document = {
        "models": ["demo"],
        "prompts": [{"relation": "country-language", "limit": 1}],
        "methods": [{"method": "eap", "top_n": 300}],
        "ablations": ["corrupt"],
        "analyses": ["evaluate"],
    }
    clock = Clock()
    kcircuits.sweep(document, place / "smollm2", workers=0, threads=THREADS, progress=clock)
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--jobs", type=int, default=200, help="Number of jobs, a multiple of 20. [default: %(default)s]"
    )
    parser.add_argument("--kills", type=int, default=30, help="Workers to kill. [default: %(default)s]")
    parser.add_argument(
        "--sweep-kills", type=int, default=2, help="How often to kill the sweep. [default: %(default)s]"
    )
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        results = soak(place, given.jobs, given.kills, given.sweep_kills, given.workers)
        empty = overhead(place, 100)
        job = smollm2_job(place)
    results |= {
        "overhead_seconds": empty["seconds"],
        "smollm2_job_seconds": round(job, 2),
        "overhead_share": round(empty["seconds"] / job, 4),
    }
    print("  ".join(f"{name}={value}" for name, value in results.items()))
    print(f"written: {write_results('soak', results)}")


if __name__ == "__main__":
    main()
