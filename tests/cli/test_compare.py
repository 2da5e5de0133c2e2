"""`kcircuits compare`: what it writes and says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kcircuits.analysis.comparison.reading import compare
from kcircuits.circuit import Circuit
from kcircuits.graph import Graph
from tests.circuits import circuit_of, identity_for
from tests.cli.test_bad_input import check

TINY = Graph(num_layers=2, num_heads=2, num_kv_heads=1)
CIRCUITS = {
    "capital": circuit_of(TINY, "input->m0 2", "m0->logits 2", "input->a1.h1<q>", "a1.h1->logits -1"),
    "language": circuit_of(TINY, "input->a1.h0<v> 1", "a1.h0->logits 3", "input->m0", "m0->logits"),
    "both": circuit_of(TINY, "input->logits 1", "input->m0 1", "m0->a1.h0<v>", "a1.h0->logits"),
}


@pytest.fixture
def files(tmp_path):
    for name, circuit in CIRCUITS.items():
        (tmp_path / name).mkdir()
        circuit.save(tmp_path / name / "circuit.json")
    return [tmp_path / name / "circuit.json" for name in CIRCUITS]


@pytest.mark.parametrize("picture", ["svg", "png", "pdf"])
def test_files_are_the_comparison(kcircuits, files, tmp_path, picture):
    out = tmp_path / "out"
    options = ["--two-hop", "capital", "language", "both", "--random", 5, "--seed", 2, "--backbone", 0.5]
    command = ["compare", *files, *options, "--domains", "x, y,x", "--out", out, "--picture", picture]
    done = kcircuits(*command, "--json")
    assert (done.status, done.err) == (0, "")
    expected = compare(
        [Circuit.load(file) for file in files], list(CIRCUITS), ["x", "y", "x"], backbone=0.5,
        hops=("capital", "language", "both"), random_circuits=5, seed=2,
    )  # fmt: skip
    assert done.json == expected.to_json() == json.loads((out / "comparison.json").read_text())
    drawn = out / f"comparison.{picture}"
    assert sorted(out.iterdir()) == sorted([out / "comparison.json", drawn])
    before = drawn.read_bytes()
    assert len(before) > 1000
    assert kcircuits(*command, "--quiet").out == ""
    assert drawn.read_bytes() == before


def test_tables(kcircuits, files):
    done = kcircuits("compare", *files, "--two-hop", "capital", "language", "both", "--names",
                     "capital,language,both")  # fmt: skip
    assert (done.status, done.err) == (0, "")
    for text in ("3 circuits of tiny", "capital, language", "effective edges", "In at least 80% of the", "m0",
                 "what both contains", "100 random circuits of its size"):  # fmt: skip
        assert text in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert "\u2026" not in done.out


def test_many_circuits(kcircuits, files, tmp_path):
    done = kcircuits("compare", *(files * 3), "--names", ",".join("abcdefghi"), "--out", tmp_path / "out")
    assert done.status == 0
    assert "of 36 pairs the 20 that share most edges" in done.out


def test_files_of_one_name_are_told_apart(kcircuits, files, tmp_path):
    other = tmp_path / "deeper" / "both"
    other.mkdir(parents=True)
    CIRCUITS["both"].save(other / "circuit.json")
    CIRCUITS["both"].save(tmp_path / "third.json")
    paths = [files[2], other / "circuit.json", tmp_path / "third.json"]
    document = kcircuits("compare", *paths, "--json").json
    assert [circuit["name"] for circuit in document["circuits"]] == [str(paths[0]), str(paths[1]), "third"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["missing.json"], "missing.json"),
        (["--names", "a,b"], "names must be one for each of the 3 circuits, got 2"),
        (["--domains", "a,,b"], "domains must be texts that are not empty, got ''"),
        (["--backbone", "2"], "backbone must be a share above 0 and at most 1, got 2"),
        (["--backbone", "most"], "'--backbone'"),
        (["--two-hop", "capital", "language", "neither"], "no circuit 'neither'"),
        (["--two-hop", "capital", "capital", "both"], "three different circuits"),
        (["--random", -1], "--random must be a whole number from 0 on, got -1"),
        (["--picture", "gif"], "'--picture'"),
        (["OTHER"], "compare circuits of one model"),
    ],
)
def test_bad_input(kcircuits, files, tmp_path, options, message):
    other = tmp_path / "other.json"
    model = identity_for(TINY, name="other", weights_hash="1" * 64)
    circuit_of(TINY, "input->logits", model=model).save(other)
    given = [other if option == "OTHER" else option for option in options]
    check(kcircuits("compare", *files, *given, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_one_circuit(kcircuits, files):
    check(kcircuits("compare", files[0]), "from 2 to 200 circuits can be compared, got 1")


def test_torch_is_not_imported(files):
    script = (
        "import sys; from kcircuits.cli import run;"
        f"assert run(['compare', *{list(map(str, files))!r}]) == 0; assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
