"""The study of docs/findings.md: the circuits of many relations in SmolLM2-135M.

Each relation is one step, whose result is stored in out/study and reused, so the study can be stopped and
resumed. It covers the bundled relations, and those of the LRE dataset (arXiv 2308.09124) if their folder is
given.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from machine import write_results
from rich.progress import track
from study_relation import SETTINGS, study_relation

import kcircuits
from kcircuits.data.relations import BUNDLED, bundled_relations
from kcircuits.files.writing import write_atomically

ROOT = Path(__file__).resolve().parents[1]
LRE = ROOT.parent / "shared" / "data" / "lre"
KEPT = ROOT / "out" / "study"


def sources(lre: Path) -> dict[tuple[str, str], Path]:
    """The files of all relations, by domain and name."""
    found = {("ours", name): BUNDLED / f"{name}.json" for name in bundled_relations()}
    found |= {(file.parent.name, file.stem): file for file in sorted(lre.glob("*/*.json"))}
    return found


def step(model: kcircuits.Model, domain: str, name: str, file: Path) -> dict[str, Any]:
    """The result of one relation, from an earlier run with the same input or a new one."""
    folder = KEPT / domain / name
    given = {
        "settings": SETTINGS,
        "model": model.identity,
        "relation_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    kept = folder / "result.json"
    if kept.exists() and (before := json.loads(kept.read_text()))["given"] == given:
        return dict(before["found"])
    found, circuit = study_relation(model, kcircuits.load_relation(file))
    found |= {"domain": domain, "file": name}
    folder.mkdir(parents=True, exist_ok=True)
    if circuit is not None:
        circuit.save(folder / "circuit.json")
    write_atomically(kept, json.dumps({"given": given, "found": found}, indent=1).encode())
    return found


def shared(relations: list[dict[str, Any]]) -> dict[str, Any]:
    """Overlap of the circuits of all relations, which have one size, by domain."""
    done = [each for each in relations if "edges" in each]
    found = kcircuits.compare(
        [kcircuits.Circuit.load(KEPT / each["domain"] / each["file"] / "circuit.json") for each in done],
        [f"{each['domain']}/{each['file']}" for each in done],
        [each["domain"] for each in done],
        backbone=0.8,
    )
    domains = np.array([each["domain"] for each in done])
    alike = domains[:, None] == domains[None, :]
    apart = ~np.eye(len(done), dtype=bool)
    return {
        "frequency": found.to_json()["frequency"],
        "backbone": found.to_json()["backbone"],
        "node_overlap": {
            "within_domains": float(found.node_overlap[alike & apart].mean()),
            "across_domains": float(found.node_overlap[~alike].mean()),
        },
        "edge_overlap": {
            "within_domains": float(found.edge_overlap[alike & apart].mean()),
            "across_domains": float(found.edge_overlap[~alike].mean()),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lre", type=Path, default=LRE, help="Folder of the LRE dataset. [default: %(default)s]"
    )
    lre = parser.parse_args().lre
    files = sources(lre)
    model = kcircuits.load_model("demo")
    start = perf_counter()
    relations = [
        step(model, domain, name, file)
        for (domain, name), file in track(files.items(), "studying relations", total=len(files))
    ]
    print(
        f"{len(relations)} relations in {perf_counter() - start:.0f} s (what was there already counts as 0)"
    )
    results = {"settings": SETTINGS, "relations": relations, "shared": shared(relations)}
    print("written:", write_results("study", results))


if __name__ == "__main__":
    main()
