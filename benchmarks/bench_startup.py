"""Startup time of commands: `kcircuits --help`, and `discover` without its search.

Each run is a separate process; the numbers are medians of alternating runs. A first run, which converts the
demo model and caches its description, is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from time import perf_counter

from machine import write_results

from kcircuits.model.gguf.conversion import convert, demo_file

RUNS = 7
COMMAND = [sys.executable, "-m", "kcircuits"]
DISCOVER = [
    "discover", "--model", "demo", "--prompt", "The official language of France is", "--answer", " French",
    "--method", "eap", "--ablation", "corrupt", "--corrupt", "The official language of Spain is",
    "--top-n", "100", "--json",
]  # fmt: skip
TARGETS = {"help": 0.3, "discover_beside_search": 2.0}


def seconds_of(arguments: list[str]) -> tuple[float, str]:
    """Seconds of a process from start to end, and what it printed."""
    start = perf_counter()
    done = subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, text=True)
    return perf_counter() - start, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    convert(demo_file())
    times: dict[str, list[float]] = {"python": [], **{name: [] for name in TARGETS}}
    for number in range(runs + 1):  # the first fills the file cache
        with tempfile.TemporaryDirectory() as folder:
            whole, printed = seconds_of([*DISCOVER, "--out", folder])
        start = perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare = perf_counter() - start
        measured = {
            "python": bare,
            "help": seconds_of(["--help"])[0],
            "discover_beside_search": whole - json.loads(printed)["stats"]["seconds"],
        }
        if number:
            for name, seconds in measured.items():
                times[name].append(seconds)
    medians = {name: round(statistics.median(seconds), 3) for name, seconds in times.items()}
    for name, seconds in medians.items():
        target = f" (target: below {TARGETS[name]} s)" if name in TARGETS else ""
        print(f"{name}: {seconds:.3f} s{target}")
    print("written:", write_results("startup", {"runs": runs, "targets": TARGETS, "seconds": medians}))


if __name__ == "__main__":
    main()
