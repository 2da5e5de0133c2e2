"""What is shipped: a complete source distribution, and a wheel that works outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from pathlib import Path

import pytest
import torch

import kcircuits
from kcircuits._native import C
from tools.make_wheel import OUTSIDE, build

ROOT = Path(__file__).resolve().parents[1]
NAME = f"kcircuits-{kcircuits.__version__}"
NOT_SHIPPED = ("tests/", "benchmarks/", "docs/", "tools/", ".")


def tracked() -> list[str]:
    """The files of the checkout that git knows, or would take."""
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy: setuptools adds what an old egg-info in the checkout lists, and writes one there."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    subprocess.run([sys.executable, "setup.py", "-q", "sdist"], cwd=copy, check=True, capture_output=True)
    return copy / "dist" / f"{NAME}.tar.gz"


def test_the_source_distribution_has_what_a_build_reads_and_users_need(sdist):
    with tarfile.open(sdist) as archive:
        found = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
    left_out = {"Makefile", "CONTRIBUTING.md"}
    wanted = {name for name in tracked() if not name.startswith(NOT_SHIPPED)} - left_out
    assert wanted - found == set()
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in found - wanted if not name.startswith("kcircuits.egg-info/")} == made
    for name in ("csrc/register.cpp", "kcircuits/report/page/page.css", "kcircuits/py.typed", "LICENSE"):
        assert name in wanted


def test_its_metadata(sdist):
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f"{NAME}/PKG-INFO")
        assert member is not None
        metadata = HeaderParser().parsestr(member.read().decode())
    assert metadata["Version"] == kcircuits.__version__
    assert metadata["License-Expression"] == "MIT"
    text = (ROOT / "pyproject.toml").read_text()
    torches = [one for one in metadata.get_all("Requires-Dist", []) if one.startswith("torch")]
    assert torches == ["torch<2.16,>=2.11"] and '"torch>=2.11,<2.16"' in text


def test_both_lists_of_libraries_outside_of_wheels_agree():
    excluded = " ".join(f"--exclude {name}" for name in OUTSIDE)
    assert f"auditwheel repair {excluded} " in (ROOT / "pyproject.toml").read_text()


def test_a_module_of_other_sources_is_refused(sdist: Path, tmp_path: Path) -> None:
    (tmp_path / "other.so").write_bytes(b"compiled elsewhere")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)],
        cwd=sdist.parents[1],
        env=os.environ | {"KCIRCUITS_MODULE": str(tmp_path / "other.so")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "other.so was not compiled from these sources" in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["other.so"]


def test_a_wheel_of_it_finds_a_circuit_elsewhere(
    sdist: Path, tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sdist -> wheel -> new environment -> search.

    The module is that of the checkout, compiled from the same sources, which saves minutes; .ci/run compiles
    those of the source distribution.
    """
    monkeypatch.setenv("KCIRCUITS_MODULE", str(C.__file__))
    scripts = sysconfig.get_path("scripts")
    monkeypatch.setenv("PATH", os.pathsep.join([scripts, os.environ["PATH"]]))
    wheel = build(sdist, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = HeaderParser().parsestr(archive.read(f"{NAME}.dist-info/METADATA").decode())
    modules = {name for name in tracked() if name.startswith("kcircuits/")}
    compiled = f"kcircuits/_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert {name for name in names if ".dist-info/" not in name} == modules | {compiled}
    minor = ".".join(torch.__version__.split(".")[:2])
    assert f"torch=={minor}.*" in metadata.get_all("Requires-Dist", [])

    venv.create(tmp_path / "new", with_pip=False)
    python = tmp_path / "new" / "bin" / "python"
    (own,) = (tmp_path / "new" / "lib").glob("python*/site-packages")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*command, str(wheel)], check=True)
    # torch and the rest are those of this environment; pip's files for a checkout are not read from there.
    (own / "rest.pth").write_text(str(Path(torch.__file__).parents[1]))
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(*arguments: str) -> str:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        done = subprocess.run(
            [str(python.parent / arguments[0]), *arguments[1:]], cwd=elsewhere, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert Path(run("python", "-c", "import kcircuits; print(kcircuits.__file__)")).parents[1] == own
    assert run("kcircuits", "--version") == f"kcircuits {kcircuits.__version__}"
    line = {"clean_ids": [1, 2, 3], "corrupt_ids": [1, 4, 3], "answer_id": 5}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(line) + "\n")
    task = ["--model", str(tiny_folder("llama")), "--prompts", str(tmp_path / "prompts.jsonl")]
    search = ["--ablation", "corrupt", "--threshold", "0.001", "--out", str(tmp_path / "out")]
    run("kcircuits", "discover", *task, *search)
    run("kcircuits", "report", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "circuit.json").read_text())["edges"]
    assert "d3" in (tmp_path / "out" / "report.html").read_text()
    assert run("python", "-c", "import kcircuits; kcircuits.load_relation('country-capital')") == ""
